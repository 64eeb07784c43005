"""One run: an experiment's file in; a directory with models, scores and `results.json` out.

What the jobs make is kept in the store (`recalign.experiment.store`), which runs share; `run_directory` leads there by
name. A run that stopped goes on where it was, because a job whose output is there is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recalign.artifacts import write_file_atomic
from recalign.engines import Engine
from recalign.experiment.config import load_experiment, settings_text
from recalign.experiment.estimate import CostEstimate, estimate_cost
from recalign.experiment.plan import ExperimentPlan, plan_experiment
from recalign.experiment.progress import Reporter
from recalign.experiment.results import Results
from recalign.experiment.run_directory import check_run_directory, link_outputs, slug
from recalign.experiment.scheduler import JobOutcome, run_jobs
from recalign.experiment.store import Job, Store
from recalign.experiment.summary import make_results
from recalign.terminal import printable

SETTINGS_FILE: Final = "experiment.toml"


@dataclass(frozen=True)
class ExperimentRun:
    """What a run came to: its directory, its plan, its results and the outcome of every job, by key."""

    directory: Path
    plan: ExperimentPlan
    results: Results
    outcomes: dict[str, JobOutcome]

    @property
    def failures(self) -> int:
        """Jobs that failed, what needed them, and rows that were refused."""
        return sum(missing.status != "not run" for missing in self.results.missing)

    @property
    def models(self) -> list[Path]:
        """The tuned models that are there, by their names in the run's directory; those of the last stage first."""
        tuned = [model.job for models in reversed(self.plan.models.values()) for model in models]
        paths = [self.directory / "models" / slug(job.name) for job in tuned if job.key in self.outcomes]
        return [path for path in paths if path.exists()]


def run_experiment(
    file: Path,
    output: Path | None = None,
    store: Path | None = None,
    *,
    jobs: int | None = None,
    engine: Engine = Engine(),
    seeds: int | None = None,
    backbones: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> ExperimentRun:
    """Run what is not done of an experiment, and write its results.

    Args:
        file: The experiment, a TOML file.
        output: Directory of the run; by default ``runs/`` and the file's name.
        store: Where what jobs make is kept; by default ``store`` beside the run. Runs with one store share equal jobs.
        jobs: How many at a time: by default one, on a cluster one per core.
        engine: Where they are done. A cluster needs the store and the cache on a file system that all its machines see.
        seeds: Run only so many of the first seeds of every list.
        backbones: Run on these of the file's backbones alone; none: as the file says.
        reporter: Told a line about every job that ends, and the progress inside jobs.

    Raises:
        ConfigError: The file is wrong, the output holds something else, or another run works in the store.
        DataError: An input file is missing.
        Interrupted: A signal stopped it; the same call continues.
    """
    reporter = reporter or Reporter()
    experiment = load_experiment(file, seeds=seeds, backbones=backbones)
    output = output or default_output(file, backbones)
    place = Store(store or default_store(output))
    check_run_directory(output)
    with place.locked():
        plan = plan_experiment(experiment)
        try:
            with engine.joined() as cluster:
                outcomes = run_jobs(
                    plan.jobs, place, workers=jobs, cluster=cluster, announce=_noting(reporter), reporter=reporter
                )
        finally:
            link_outputs(output, plan, place)
        reporter.note("results: metrics, intervals and tests")
        text = settings_text(file)
        options = [word for name in backbones for word in ("--backbone", name)]
        options += [] if seeds is None else ["--seeds", str(seeds)]
        commands = (
            " ".join(["recalign run", str(file), "--output", str(output), *options]),
            f"recalign report {output}",
        )
        results = make_results(experiment, plan, outcomes, place, commands=commands, settings=text, reporter=reporter)
        write_file_atomic(output / SETTINGS_FILE, text.encode())
        results.write(output)
    return ExperimentRun(output, plan, results, outcomes)


def _noting(reporter: Reporter) -> Callable[[Job, JobOutcome, int, int], None]:
    """A line about every job that ends."""

    def announce(job: Job, outcome: JobOutcome, done: int, total: int) -> None:
        spent = f"{outcome.cost.seconds:.0f} s" if outcome.cost else outcome.status
        reason = f": {outcome.reason}" if outcome.status == "failed" else ""
        reporter.note(printable(f"[{done}/{total}] {job.name}: {spent}{reason}"))

    return announce


def estimate_experiment(
    file: Path, store: Path | None = None, *, seeds: int | None = None, backbones: Sequence[str] = ()
) -> CostEstimate:
    """What is left to run and what it will cost; nothing is written. Arguments as of `run_experiment`.

    Raises:
        ConfigError: The file is wrong.
        DataError: An input file is missing.
    """
    plan = plan_experiment(load_experiment(file, seeds=seeds, backbones=backbones))
    return estimate_cost(plan.jobs, Store(store or default_store(default_output(file, backbones))))


def default_output(file: Path, backbones: Sequence[str] = ()) -> Path:
    """Where a run of `file` goes if nothing else is said."""
    return Path("runs") / "-".join([file.stem, *backbones])


def default_store(output: Path) -> Path:
    """The store of a run if nothing else is said: beside it."""
    return output.parent / "store"
