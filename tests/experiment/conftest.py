"""The smoke experiment, a chain of stages, and one of baselines alone, each run once; work whose end a test decides."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recalign.experiment import scheduler
from recalign.experiment.config import Experiment, load_experiment
from recalign.experiment.plan import ExperimentPlan, plan_experiment
from recalign.experiment.progress import Progress, Reporter
from recalign.experiment.run import ExperimentRun, run_experiment
from recalign.experiment.store import Job

SMOKE = Path(__file__).parents[2] / "experiments" / "smoke.toml"

Change = Callable[..., ExperimentPlan]

# Trains and scores in fractions of a second, and loads no language model.
TINY = """
name = "tiny"
title = "Tiny"

[data.movie]
dataset = "synthetic"
items = 60
users = 16
ratings_per_user = 12
max_history = 4

[data.book]
dataset = "synthetic"
catalogue = "books"
items = 60
users = 18
ratings_per_user = 8
max_history = 4
protocol = "tallrec-book"
folds = 3

[[baselines]]
models = ["gru4rec"]
data = "movie"
shots = [8]
seeds = [0, 1]
settings = { max_steps = 2, weight_decays = [1e-4], selection = "last" }

[[panels]]
name = "movie"
data = "movie"
resamples = 100
"""

# A chain of stages and K shots on top, with a minimal nano and a few steps per stage.
SMALL = """
name = "small"
title = "Small"

[data.source]
dataset = "synthetic"
catalogue = "movies"
seed = 1
users = 14
items = 40
ratings_per_user = 12
max_history = 4

[data.target]
dataset = "synthetic"
catalogue = "books"
seed = 2
users = 14
items = 40
ratings_per_user = 12
max_history = 4

[backbones.nano]
name = "nano"
device = "cpu"
sources = ["source"]
targets = ["target"]

[backbones.nano.nano]
hidden = 32
layers = 1
heads = 2
intermediate = 32
vocabulary = 400
steps = 2
batch_tokens = 512
row_tokens = 64
instructions = 20

[[stages]]
name = "it"
kind = "instruction"
mode = "full"
data = ["source"]
zero_shot_for = ["target"]
instructions = 20
batch_size = 4
max_steps = 2
precision = "fp32"

[[stages]]
name = "zero-shot"
parent = "it"
mode = "full"
data = ["source"]
zero_shot_for = ["target"]
selection = "source"
holdout = 0.3
batch_size = 8
max_steps = 2
eval_steps = 1
precision = "fp32"
optim = { lr = 1e-3 }
sampling = { targets_per_history = 4 }

[[stages]]
name = "few"
parent = "zero-shot"
data = ["target"]
validation = "target"
shots = 4
seeds = [0, 1]
selection = ["strict-k", "paper"]
batch_size = 4
max_steps = 1
precision = "fp32"

[[panels]]
name = "books"
data = "target"
stages = ["zero-shot", "few"]
zero_shot = ["zero-shot"]
fit = "source"
negatives = 9
resamples = 100
"""

# What a spawned worker runs in place of the jobs of a plan: it says in a file which jobs it began, and how they end is
# said by a file of the job's key. Where it only pretends, it takes what another store holds, or writes nothing; torch
# need not be loaded then, which takes seconds.
STAGED = """
import json
import os
import shutil
import signal
import sys
import time
import types
from pathlib import Path

from recalign.experiment import scheduler

STAGE = Path(os.environ["RECALIGN_TEST_STAGE"])
EXECUTION = "recalign.experiment.execute"


def act(job, store, reporter):
    with (STAGE / "begun").open("a") as file:
        file.write(json.dumps([job.name, os.getpid()]) + "\\n")
    script = STAGE / job.key
    what = script.read_text() if script.exists() else ""
    if what == "raise":
        raise ValueError("told to \\x1b[31mfail")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while what == "wait" and script.exists():
        time.sleep(0.02)
    if sys.modules[EXECUTION].real is None:
        pretend(job.output, store)
    else:
        sys.modules[EXECUTION].real(job, store, reporter)


def pretend(output, store):
    reference, target = (STAGE / "pretend").read_text(), store.path(output)
    if not reference:
        target.write_text("")
    elif (Path(reference) / output).is_dir():
        shutil.copytree(Path(reference) / output, target)
    else:
        shutil.copy(Path(reference) / output, target)


def start(*arguments):
    if (STAGE / "pretend").exists():
        cuda = types.SimpleNamespace(device_count=lambda: 7)
        sys.modules["torch"] = types.SimpleNamespace(set_num_threads=lambda threads: None, cuda=cuda)
        sys.modules[EXECUTION] = types.SimpleNamespace(execute=act, real=None)
    else:
        from recalign.experiment import execute

        execute.real, execute.execute = execute.execute, act
    real_start(*arguments)


real_start = scheduler._start
"""


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and is not waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait for a condition; whether it came to hold in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Stage:
    """Decides how jobs end that workers run."""

    folder: Path

    def tell(self, job: Job, what: str) -> None:
        """What becomes of a job: raise, die, wait (until `release`); "" ends it as it should."""
        (self.folder / job.key).write_text(what)

    def pretend(self, reference: Path | str = "") -> None:
        """Workers that start from now on do no work: they copy what this store holds, or write empty files."""
        (self.folder / "pretend").write_text(str(reference))

    def do(self) -> None:
        """Workers that start from now on work."""
        (self.folder / "pretend").unlink()

    def release(self, job: Job) -> None:
        """Let a waiting job go on."""
        (self.folder / job.key).unlink()

    def begun(self) -> list[list[object]]:
        """Name and process of every job that was begun, in order."""
        path = self.folder / "begun"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def names(self) -> list[str]:
        """Names of the jobs that were begun."""
        return [str(name) for name, _ in self.begun()]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Workers that are started in this test run staged jobs."""
    folder = tmp_path / "stage"
    folder.mkdir()
    (folder / "staged_work.py").write_text(STAGED)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("RECALIGN_TEST_STAGE", str(folder))
    sys.modules.pop("staged_work", None)
    staged = importlib.import_module("staged_work")
    monkeypatch.setattr(scheduler, "_start", staged.start)
    return Stage(folder)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny experiment with some of its text replaced, and more after it; the path of the file."""
    return lambda *changes, more="", name="tiny.toml": _written(tmp_path / name, TINY, changes, more)


@pytest.fixture
def write_small(tmp_path: Path) -> Callable[..., Path]:
    """The same with the small experiment."""
    return lambda *changes, more="", name="small.toml": _written(tmp_path / name, SMALL, changes, more)


def _written(path: Path, text: str, changes: Sequence[tuple[str, str]] = (), more: str = "") -> Path:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more, encoding="utf-8")
    return path


@pytest.fixture
def plan_of() -> Callable[[Path], ExperimentPlan]:
    """The plan of a file."""
    return lambda path: plan_experiment(load_experiment(path))


@dataclass
class Recorder(Reporter):
    """A `Reporter` that remembers: notes, and the tasks whose progress was told, with what was told last."""

    notes: list[str] = field(default_factory=list)
    tasks: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def task(self, name: str, unit: str = "steps") -> Progress:
        def show(done: int, total: int, facts: str) -> None:
            self.tasks[name] = done, total, facts

        return show


@dataclass(frozen=True)
class Done:
    """An experiment after its run."""

    experiment: Experiment
    plan: ExperimentPlan
    run: ExperimentRun
    told: Recorder
    output: Path
    store: Path


def _run(file: Path, folder: Path) -> Done:
    """Run an experiment in one worker of one thread, with a cache of its own."""
    told = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_CACHE", str(folder / "cache"))
        patch.setattr(os, "cpu_count", lambda: 1)
        run = run_experiment(file, folder / "out", reporter=told)
    return Done(load_experiment(file), run.plan, run, told, folder / "out", folder / "store")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The smoke experiment, run once. Tests only read its store."""
    return _run(SMOKE, tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The tiny experiment, run once and undisturbed. Tests only read its store."""
    folder = tmp_path_factory.mktemp("tiny")
    return _run(_written(folder / "tiny.toml", TINY), folder)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The small experiment, run once. Tests only read its store."""
    folder = tmp_path_factory.mktemp("small")
    return _run(_written(folder / "small.toml", SMALL), folder)


@pytest.fixture
def recorder() -> Recorder:
    """A reporter that remembers."""
    return Recorder()


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """The plan of the smoke experiment with some of its text replaced."""

    def plan(*changes: tuple[str, str], more: str = "", seeds: int | None = None) -> ExperimentPlan:
        text = SMOKE.read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"{text.count(old)} × {old!r}"
            text = text.replace(old, new)
        (tmp_path / "changed.toml").write_text(text + more, encoding="utf-8")
        return plan_experiment(load_experiment(tmp_path / "changed.toml", seeds=seeds))

    return plan
