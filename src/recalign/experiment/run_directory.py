"""The directory of a run, for people to browse: names of the plan that lead into the store.

::

    RUN/experiment.toml                  the file that was run
    RUN/results.json, RUN/report.html    what came of it
    RUN/data/NAME                        prepared data
    RUN/cot/NAME                         chain-of-thought data of a teacher
    RUN/models/NAME                      tuned models and baselines
    RUN/candidates/PANEL                 ranking candidates
    RUN/scores/PANEL/MODEL.parquet       score files; of candidates MODEL-candidates.parquet

Everything but the files at the top is a relative symbolic link into the store, so a run and its store move together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recalign.errors import ConfigError
from recalign.experiment.jobs import Job, PrepareWork, TeachWork, TuneWork
from recalign.experiment.plan import Cell, ExperimentPlan, PanelPlan
from recalign.experiment.store import Store

FOLDERS: Final = ("data", "cot", "models", "candidates", "scores")


def check_run_directory(run: Path) -> None:
    """Refuse a directory that holds something else than a run's links.

    Raises:
        ConfigError: It is a file, or an earlier version of Recalign made real directories in it.
    """
    if run.exists() and not run.is_dir():
        raise ConfigError(
            f"run {run}", found="a file", expected="a directory, or nothing", hint="Choose another --output"
        )
    for path in _entries(run):
        if not path.is_symlink():
            raise ConfigError(
                f"run {run}",
                found=f"{path.relative_to(run)}, which is no link into a store",
                expected="a run made by this version",
                hint=f"Choose another one: --output {run.with_name(f'{run.name}-2')}",
            )


def link_outputs(run: Path, plan: ExperimentPlan, store: Store) -> None:
    """Make the links to all that is done of a plan, and remove those of an earlier one.

    Raises:
        ConfigError: See `check_run_directory`.
    """
    check_run_directory(run)
    wanted = {run / name: target for name, target in _links(plan, store)}
    for path in _entries(run):
        if path not in wanted:
            path.unlink()
    for path, target in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = os.path.relpath(target.resolve(), path.parent.resolve())
        if path.is_symlink() and str(path.readlink()) == text:
            continue
        path.unlink(missing_ok=True)
        path.symlink_to(text)
    for folder in (*(run / "scores").glob("*"), *(run / name for name in FOLDERS)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _entries(run: Path) -> list[Path]:
    """What lies where links are: in each folder, of the scores one deeper."""
    entries = [path for name in FOLDERS if name != "scores" for path in (run / name).glob("*")]
    entries += [path for path in (run / "scores").glob("*") if path.is_symlink() or not path.is_dir()]
    entries += [path for path in (run / "scores").glob("*/*") if not path.parent.is_symlink()]
    return [path for path in entries if not path.name.startswith(".")]


def _links(plan: ExperimentPlan, store: Store) -> Iterator[tuple[str, Path]]:
    """Names within the run, and what they lead to. Equal names of different jobs have the job's key added."""
    taken: dict[str, str] = {}
    for name, suffix, job in _named(plan):
        if not store.is_done(job):
            continue
        if taken.setdefault(name + suffix, job.key) != job.key:
            name = f"{name}-{job.key}"
        yield name + suffix, store.path(job.output)
        if isinstance(job.work, TuneWork):  # a staged curriculum leaves the models on its way
            for part in sorted(store.path("models").glob(f"{job.key}-*")):
                yield name + part.name.removeprefix(job.key), part


def _named(plan: ExperimentPlan) -> Iterator[tuple[str, str, Job]]:
    """Every job that people may look at: its name within the run, the ending of the name, the job."""
    for job in plan.jobs.values():
        if isinstance(job.work, PrepareWork):
            yield f"data/{slug(job.name)}", "", job
        elif isinstance(job.work, TeachWork):
            yield f"cot/{slug(job.name.removeprefix('teacher '))}", "", job
        elif job.output.startswith("models/"):
            yield f"models/{slug(job.name)}", "", job
    for panel in plan.panels:
        for index, job in enumerate(panel.candidates):
            yield f"candidates/{panel.entry.name}{_fold(panel, index)}", "", job
        for cell in panel.cells:
            yield from _scores(panel, cell)


def _scores(panel: PanelPlan, cell: Cell) -> Iterator[tuple[str, str, Job]]:
    for jobs, what in ((cell.scores, cell.control), (cell.ranking, "candidates")):
        for index, job in enumerate(jobs):
            model = cell.trained[index % len(cell.trained)].name if cell.trained else ""
            name = slug(model or f"{cell.model} {cell.backbone} seed {cell.seed}")
            fold = "" if len(cell.trained) == len(jobs) else _fold(panel, index)  # a model's own fold is in its name
            yield f"scores/{panel.entry.name}/{name}{fold}{f'-{what}' if what else ''}", ".parquet", job


def _fold(panel: PanelPlan, index: int) -> str:
    return f"-fold-{index}" if len(panel.data) > 1 else ""


def slug(name: str) -> str:
    """The name of a job as that of a file."""
    return "-".join(name.replace(",", "").replace("/", "-").split())
