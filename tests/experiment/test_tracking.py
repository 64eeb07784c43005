"""Logs reach a tracker whole, and whatever a tracker does, work goes on with one warning."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from recalign.cli.client_options import Tracker as TrackerOption
from recalign.errors import ConfigError
from recalign.experiment import tracking
from recalign.experiment.progress import Reporter
from recalign.experiment.trackers import TRACKERS, Training
from recalign.experiment.tracking import TrackedReporter, tracked


@dataclass
class Notes(Reporter):
    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.lines.append(text)


class Fake:
    """A tracker that keeps what it is told, or fails at a time."""

    made: ClassVar[list[Fake]]
    fails: ClassVar[str] = ""
    error: ClassVar[BaseException] = RuntimeError("no space left")

    def __init__(self, training: Training) -> None:
        self.training, self.entries, self.closed = training, list[dict[str, float]](), False
        self.thread = threading.current_thread()
        self.made.append(self)
        self._maybe("open")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._maybe("log")
        self.entries.append({"step": step, **values})

    def close(self) -> None:
        self._maybe("close")
        self.closed = True

    def _maybe(self, when: str) -> None:
        if self.fails == when:
            raise self.error
        if self.fails == f"{when} hangs":
            time.sleep(60)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    class Own(Fake):
        made: ClassVar[list[Fake]] = []

    monkeypatch.setattr(tracking, "TRACKERS", {"wandb": ("json", Own)})
    return Own


LOG = [{"step": 10, "loss": 3.0, "lr": 0.1}, {"step": 10, "validation": 0.5}, {"step": 20, "loss": 2.0, "lr": 0.1}]


def work(reporter: Reporter) -> None:
    for name in ("a seed=1", "a seed=2"):
        tell = reporter.log(name, {"optim": {"lr": 0.1}})
        for place, entry in enumerate(LOG, start=1):
            tell([entry], place == len(LOG))
    reporter.note("done")


def test_logs_reach_the_tracker_whole(fake: type[Fake], tmp_path: Path) -> None:
    notes = Notes()
    with tracked(notes, "wandb", "grid", tmp_path) as reporter:
        work(reporter)
        reporter.log("nothing to show", {})([], False)
    assert [made.entries for made in fake.made[:2]] == [LOG, LOG]
    assert [made.training.name for made in fake.made[:2]] == ["a seed=1", "a seed=2"]
    assert {made.training.group for made in fake.made} == {"grid"}
    assert all(made.closed for made in fake.made)
    assert threading.main_thread() not in {made.thread for made in fake.made}
    assert notes.lines == ["done"]


@pytest.mark.parametrize("fails", ["open", "log", "close"])
@pytest.mark.parametrize("error", [RuntimeError("no space left\non device"), SystemExit(1)], ids=["error", "exit"])
@pytest.mark.filterwarnings("error")
def test_a_tracker_that_fails_is_one_warning(
    fake: type[Fake], tmp_path: Path, fails: str, error: BaseException
) -> None:
    fake.fails, fake.error, notes = fails, error, Notes()
    with tracked(notes, "wandb", "grid", tmp_path) as reporter:
        work(reporter)
    warnings = [line for line in notes.lines if line.startswith("warning: tracker wandb: ")]
    assert len(warnings) == 1, notes.lines
    assert "\n" not in warnings[0]
    assert type(error).__name__ in warnings[0]
    assert "done" in notes.lines


@pytest.mark.parametrize("fails", ["open hangs", "log hangs", "close hangs"])
def test_a_tracker_that_hangs_holds_nothing_up(fake: type[Fake], tmp_path: Path, fails: str) -> None:
    fake.fails, notes, began = fails, Notes(), time.monotonic()
    reporter = TrackedReporter(notes, "wandb", fake, "grid", tmp_path)
    work(reporter)
    reporter.close(patience=0.1)
    assert time.monotonic() - began < 5
    assert notes.lines == [
        "done",
        "warning: tracker wandb: it does not end within 0.1 s; everything goes on without it",
    ]


def test_an_interruption_passes_and_closes_the_tracker(fake: type[Fake], tmp_path: Path) -> None:
    def interrupted() -> None:
        with tracked(Notes(), "wandb", "grid", tmp_path) as reporter:
            reporter.log("a", {})(LOG[:1], False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (fake.made[0].entries, fake.made[0].closed) == (LOG[:1], True)


def test_no_key_is_shown(fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k-canary-1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p-canary-2")
    fake.fails, notes = "open", Notes()
    fake.error = OSError("401 for k-canary-1, p-canary-2 at https://me:p-canary-3@host/api \x1b[2J" + "x" * 500)
    with tracked(notes, "wandb", "grid", tmp_path) as reporter:
        work(reporter)
    (line,) = (line for line in notes.lines if line.startswith("warning"))
    assert "401 for [key], [key] at https://host/api" in line
    assert "canary" not in line
    assert "\x1b" not in line
    assert len(line) < 300


def test_what_is_no_tracker_or_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="--tracker neptune; expected wandb, trackio"),
        tracked(Notes(), "neptune", "g", tmp_path),
    ):
        pass
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for kind in TRACKERS:
        hint = rf"no package {kind}. Install it: pip install 'recalign\[{kind}\]'"
        with pytest.raises(ConfigError, match=hint), tracked(Notes(), kind, "g", tmp_path):
            pass


def test_the_option_has_all_trackers() -> None:
    assert all(f"'{kind}'" in str(TrackerOption) for kind in TRACKERS)


def test_without_a_tracker_no_package_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from recalign.experiment.tracking import tracked\nfrom recalign.experiment.progress import Reporter\n"
        "with tracked(Reporter(), None, 'g', Path('.')) as reporter: reporter.log('a', {})([], True)\n"
        "print([name for name in ('wandb', 'trackio', 'tensorboard', 'mlflow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"
