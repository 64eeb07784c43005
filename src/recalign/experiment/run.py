"""An experiment in, `results.json` out. Only this module knows how an experiment's directory is laid out.

::

    OUTPUT/experiment.toml   the file that was run
    OUTPUT/results.json      everything a report shows (`recalign.experiment.study`)

What the runs make is kept in the store (`recalign.experiment.store`), which experiments share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recalign.artifacts import write_file_atomic
from recalign.experiment.config import load_experiment, settings_text
from recalign.experiment.estimate import Estimate, estimate
from recalign.experiment.jobs import Job
from recalign.experiment.plan import expand
from recalign.experiment.scheduler import Outcome, run_jobs
from recalign.experiment.store import Store
from recalign.experiment.study import Study
from recalign.experiment.summary import summarise

SETTINGS_FILE: Final = "experiment.toml"


@dataclass(frozen=True)
class ExperimentRun:
    """What running an experiment came to: its results and the outcome of every job, by key."""

    study: Study
    outcomes: dict[str, Outcome]

    @property
    def failures(self) -> int:
        """Jobs that failed, what needed them, and rows that were refused."""
        return sum(each.status != "not run" for each in self.study.missing)


def run_experiment(
    file: Path,
    output: Path,
    store: Path,
    *,
    jobs: int = 1,
    seeds: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> ExperimentRun:
    """Run what is not done of an experiment, and write its results.

    Args:
        file: The experiment, a TOML file.
        output: Its directory.
        store: Where runs are kept; experiments that share it share equal runs.
        jobs: Worker processes.
        seeds: Run only so many of the first seeds of every list.
        note: Told a line about every job that ends.

    Raises:
        ConfigError: The file is wrong, or another run works in the store.
        DataError: An input file is missing.
        Interrupted: A signal stopped it; the same call continues.
    """
    experiment = load_experiment(file, seeds=seeds)
    place = Store(store)
    with place.locked():
        plan = expand(experiment)

        def announce(job: Job, outcome: Outcome, done: int, total: int) -> None:
            spent = f"{outcome.cost.seconds:.0f} s" if outcome.cost else outcome.status
            note(f"[{done}/{total}] {job.name}: {spent}{f': {outcome.reason}' if outcome.status == 'failed' else ''}")

        outcomes = run_jobs(plan.jobs, place, workers=jobs, announce=announce)
        note("results: metrics, intervals and tests")
        text = settings_text(file)
        shortened = f" --seeds {seeds}" if seeds is not None else ""
        commands = (f"recalign experiment {file} --output {output}{shortened}", f"recalign report {output}")
        study = summarise(experiment, plan, outcomes, place, commands=commands, settings=text)
        output.mkdir(parents=True, exist_ok=True)
        write_file_atomic(output / SETTINGS_FILE, text.encode())
        study.write(output)
    return ExperimentRun(study, outcomes)


def estimate_experiment(file: Path, store: Path, *, seeds: int | None = None) -> Estimate:
    """What is left to run and what it will cost; nothing is written. Arguments as of `run_experiment`.

    Raises:
        ConfigError: The file is wrong.
        DataError: An input file is missing.
    """
    return estimate(expand(load_experiment(file, seeds=seeds)).jobs, Store(store))
