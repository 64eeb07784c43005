"""The smoke experiment, run once; a smaller one of baselines alone; and work whose end a test decides."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recalign.experiment import scheduler
from recalign.experiment.config import Experiment, load_experiment
from recalign.experiment.jobs import Job
from recalign.experiment.plan import Plan, expand
from recalign.experiment.run import ExperimentRun, run_experiment

SMOKE = Path(__file__).parents[2] / "experiments" / "smoke.toml"

# Trains and scores in fractions of a second, and loads no language model.
TINY = """
name = "tiny"
title = "Tiny"

[data.movie]
dataset = "synthetic"
items = 60
users = 16
ratings_per_user = 12
window = 4

[data.book]
dataset = "synthetic"
domain = "books"
items = 60
users = 18
ratings_per_user = 8
window = 4
protocol = "tallrec-book"
folds = 3

[[baselines]]
models = ["gru4rec"]
data = "movie"
shots_grid = [8]
seeds = [0, 1]
settings = { max_steps = 2, weight_decays = [1e-4], selection = "last" }

[[panels]]
name = "movie"
data = "movie"
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


def act(job, store):
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
        sys.modules[EXECUTION].real(job, store)


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
        sys.modules["torch"] = types.SimpleNamespace(set_num_threads=lambda threads: None)
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

    def make(*changes: tuple[str, str], more: str = "", name: str = "tiny.toml") -> Path:
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text + more, encoding="utf-8")
        return path

    return make


@pytest.fixture
def plan_of() -> Callable[[Path], Plan]:
    """The plan of a file."""
    return lambda path: expand(load_experiment(path))


@dataclass(frozen=True)
class Done:
    """An experiment after its run."""

    experiment: Experiment
    plan: Plan
    run: ExperimentRun
    notes: tuple[str, ...]
    output: Path
    store: Path


def _run(file: Path, folder: Path) -> Done:
    """Run an experiment in one worker of one thread, with a cache of its own."""
    notes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_CACHE", str(folder / "cache"))
        patch.setattr(os, "cpu_count", lambda: 1)
        run = run_experiment(file, folder / "out", folder / "store", note=notes.append)
    experiment = load_experiment(file)
    return Done(experiment, expand(experiment), run, tuple(notes), folder / "out", folder / "store")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The smoke experiment, run once. Tests only read its store."""
    return _run(SMOKE, tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The tiny experiment, run once and undisturbed. Tests only read its store."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    return _run(folder / "tiny.toml", folder)


RECIPE = """
name = "small"

[data.source]
dataset = "synthetic"
domain = "movies"
seed = 1
users = 14
items = 40
ratings_per_user = 12
window = 4

[data.target]
dataset = "synthetic"
domain = "books"
seed = 2
users = 14
items = 40
ratings_per_user = 12
window = 4

[backbone]
name = "nano"
device = "cpu"
sources = ["source"]
targets = ["target"]

[backbone.nano]
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
shots_grid = [4]
seeds = [0, 1]
selections = ["strict-k", "paper"]
batch_size = 4
max_steps = 1
precision = "fp32"

[[evaluations]]
data = "target"
stages = ["zero-shot", "few"]
fit = "source"
resamples = 100
"""


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where nano is cached while tests of this package run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RECALIGN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="package")
def write_recipe() -> Callable[..., Path]:
    """Write the recipe with some of its text replaced; the path of the file."""

    def write(folder: Path, *changes: tuple[str, str]) -> Path:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = folder / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
