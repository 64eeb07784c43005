"""The logs of trainings on their way to an experiment tracker.

What a tracker shows is what stands in ``metrics.jsonl``. It works in a thread of its own, so training never waits for
it. Its first failure is one warning, without keys, and everything goes on without the tracker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from recalign.errors import ConfigError
from recalign.experiment.progress import Log, LogEntry, Progress, Reporter
from recalign.experiment.trackers import TRACKERS, Tracker, Training
from recalign.terminal import printable

_PATIENCE: Final = 30.0  # seconds that a tracker has for what is left when the work is done
_MESSAGE: Final = 200  # characters of a tracker's message that are shown
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_LOGIN: Final = re.compile(r"//[^/@\s]+@")


@contextmanager
def tracked(reporter: Reporter, kind: str | None, group: str, folder: Path) -> Iterator[Reporter]:
    """Within the context a reporter that also feeds a tracker; without a `kind` the reporter as it is.

    Args:
        reporter: Told everything else, and the warning if the tracker fails.
        kind: "wandb", "trackio", "tensorboard" or "mlflow".
        group, folder: See `Training`.

    Raises:
        ConfigError: There is no such tracker, or its package is not installed.
    """
    if kind is None:
        yield reporter
        return
    if kind not in TRACKERS:
        raise ConfigError(f"--tracker {kind}", expected=", ".join(TRACKERS))
    package, opened = TRACKERS[kind]
    if find_spec(package) is None:
        hint = f"Install it: pip install 'recalign[{kind}]'"
        raise ConfigError(f"--tracker {kind}", found=f"no package {package}", hint=hint)
    feeding = TrackedReporter(reporter, kind, opened, group, folder)
    try:
        yield feeding
    finally:
        feeding.close()


class TrackedReporter(Reporter):
    """Tells another reporter everything, and a tracker the logs of trainings, until it fails for the first time."""

    def __init__(
        self, reporter: Reporter, kind: str, opened: Callable[[Training], Tracker], group: str, folder: Path
    ) -> None:
        self._reporter, self._kind, self._opened = reporter, kind, opened
        self._group, self._folder = group, folder
        self._waiting: SimpleQueue[_News | None] = SimpleQueue()
        self._trouble, self._warned = "", False
        # One for all trainings: the packages are not made for several threads.
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def note(self, text: str) -> None:
        """See `Reporter`."""
        self._reporter.note(text)

    def task(self, name: str, unit: str = "steps") -> Progress:
        """See `Reporter`."""
        return self._reporter.task(name, unit)

    def log(self, name: str, settings: Mapping[str, object]) -> Log:
        """A callback that hands the log to the tracker. A training without a log is not shown there."""
        training = Training(name, self._group, settings, self._folder)

        def tell(entries: Sequence[LogEntry], ended: bool) -> None:
            self._waiting.put(_News(training, list(entries), ended))
            self._warn()

        return tell

    def close(self, patience: float = _PATIENCE) -> None:
        """Wait until the tracker has everything, but not for long."""
        self._waiting.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            self._trouble = f"it does not end within {patience:g} s"
        self._warn()

    def _warn(self) -> None:
        if self._trouble and not self._warned:
            self._warned = True
            self._reporter.note(f"warning: tracker {self._kind}: {self._trouble}; everything goes on without it")

    def _work(self) -> None:
        shown: dict[Training, Tracker] = {}
        try:
            while (news := self._waiting.get()) is not None:
                if news.training not in shown:
                    shown[news.training] = self._opened(news.training)
                for entry in news.entries:
                    values = {name: value for name, value in entry.items() if name != "step"}
                    shown[news.training].log(int(entry["step"]), values)
                if news.ended:
                    shown.pop(news.training).close()
            for tracker in shown.values():
                tracker.close()
        except (Exception, SystemExit) as error:  # whatever it is: a tracker never stops a run
            self._trouble = _masked(f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class _News:
    """What is new in the log of a training; `ended`: that is all."""

    training: Training
    entries: Sequence[LogEntry]
    ended: bool


def _masked(text: str) -> str:
    """The text in one line, without what environment variables for keys hold and without logins in addresses."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) > 3:
            text = text.replace(value, "[key]")
    line = " ".join(_LOGIN.sub("//", printable(text)).split())
    return line if len(line) <= _MESSAGE else f"{line[:_MESSAGE]}…"
