"""The results document of a run: its panels from stored score files, what is missing, and how it was made.

Nothing is scored here but priors and references, which learn nothing that is worth keeping.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.audit import AuditReport
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.evaluation.controls import unseen_titles
from recalign.evaluation.document import Curve, CurvePoint, Panel, PanelFacts, Ranked, Row, RowStatus, Unseen
from recalign.evaluation.metric import UNSEEN_TITLES
from recalign.evaluation.panel import build_panel, sample_counts
from recalign.evaluation.priors import Fold, prior_rows
from recalign.evaluation.ranking import load_task, ranked
from recalign.evaluation.references import reference_rows
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings
from recalign.evaluation.score_file import ScoreFile
from recalign.experiment.config import Experiment
from recalign.experiment.execute import check_zero_shot
from recalign.experiment.plan import Cell, ExperimentPlan, PanelPlan
from recalign.experiment.prepare import AUDIT_FILE
from recalign.experiment.progress import Reporter, counted
from recalign.experiment.published import published
from recalign.experiment.results import Finding, Missing, Results
from recalign.experiment.scheduler import JobOutcome
from recalign.experiment.store import Job, Store

_CURVE_POINTS: Final = 40
_PACKAGES: Final = ("recalign", "torch", "transformers", "peft", "tokenizers", "numpy", "polars", "scipy")


def make_results(
    experiment: Experiment,
    plan: ExperimentPlan,
    outcomes: Mapping[str, JobOutcome],
    store: Store,
    *,
    commands: Sequence[str],
    settings: str,
    reporter: Reporter = Reporter(),
) -> Results:
    """The results of an experiment as far as it has run; `commands` and `settings` go into the document.

    `reporter` is told how far the tests of each panel are.

    Raises:
        ArtifactError, DataError: A score file or data set is damaged, or score files do not go together.
    """
    missing = [
        Missing(job=plan.jobs[key].name, status=outcome.status, reason=outcome.reason)
        for key, outcome in outcomes.items()
        if outcome.status == "failed" or outcome.status == "skipped"
    ]
    panels = []
    for panel in plan.panels:
        where = f"panel {panel.entry.name}"
        if not store.all_done(panel.reads):
            missing.append(Missing(job=where, status="skipped", reason="data that it reads could not be prepared"))
            continue
        tests = counted(reporter.task(f"results of {panel.entry.name}", "tests"))
        panels.append(_panel(experiment, panel, store, tests))
        scored = {cell.row for cell in panel.cells if store.all_done(cell.scores)}
        absent = {cell.model: cell.reason for cell in panel.cells if cell.reason}
        missing += [Missing(job=f"{name}, {where}", status="not run", reason=why) for name, why in absent.items()]
        missing += [  # rows that are not shown although their scores are there: a promise was broken
            Missing(job=f"{row.title}, {where}", status="failed", reason=row.reason)
            for row in panels[-1].rows
            if row.status == "not run" and (row.model, row.backbone, row.shots, row.control) in scored
        ]
    costs = [cost for job in plan.jobs.values() if (cost := store.cost(job)) is not None]
    return Results(
        name=experiment.name,
        title=experiment.title,
        description=experiment.description,
        paper=experiment.paper,
        commands=tuple(commands),
        versions=_versions(),
        machine=_machine(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu_hours=round(sum(cost.cpu_seconds for cost in costs) / 3600, 3),
        missing=tuple(missing),
        panels=tuple(panels),
        figures=experiment.figures,
        audit=_audit(plan, store),
        settings=settings,
    )


def _panel(experiment: Experiment, panel: PanelPlan, store: Store, progress: Callable[[int, int], None]) -> Panel:
    """Everything about one panel whose data are prepared (`PanelPlan.reads`)."""
    entry = panel.entry
    folds = _folds(panel, store)
    data = [fold.data for fold in folds]
    first = [fold.data for fold in folds if fold.order == folds[0].order]
    frame = pl.concat([part.frame(entry.split).select("sample_id", "user_id", "label") for part in first])
    orders = tuple(dict.fromkeys(panel.orders))
    priors, learned = prior_rows(folds, entry.split, fit_name=entry.fit or "")
    references, fits = reference_rows(folds, entry.split, entry.references)
    unseen = _unseen(panel, store, data)
    facts = PanelFacts(
        name=entry.name,
        title=entry.title or entry.name,
        data=entry.data,
        split=entry.split,
        fingerprints=tuple(fold.fingerprint for fold in data),
        order_seeds=orders if len(orders) > 1 else (),
        learned=learned,
        references=fits,
        ranked=_ranked(panel, folds),
        unseen=Unseen(count=len(unseen), data=entry.unseen_by) if entry.unseen_by else None,
        **sample_counts(frame),
    )
    settings = TestSettings(resamples=entry.resamples, subsets={UNSEEN_TITLES: unseen})
    seeds: dict[object, list[Cell]] = {}
    for cell in panel.cells:
        seeds.setdefault(cell.row, []).append(cell)
    rows = [_row(experiment, panel, cells, store, data) for cells in seeds.values()]
    return build_panel(facts, [*priors, *references, *rows], settings, entry.compare, progress)


def _folds(panel: PanelPlan, store: Store) -> list[Fold]:
    fits, folds = [store.data(job.output) for job in panel.fit], []
    ranks = store.all_done(panel.candidates)
    for place, job in enumerate(panel.data):
        data = store.data(job.output)
        task = load_task(store.path(panel.candidates[place].output), data) if ranks else None
        folds.append(Fold(data, fits[place % len(fits)] if fits else None, task, panel.orders[place]))
    return folds


def _ranked(panel: PanelPlan, folds: Sequence[Fold]) -> Ranked | None:
    if not panel.candidates:
        return None
    tasks = [fold.task for fold in folds if fold.task is not None]
    return ranked(tasks) if tasks else Ranked(negatives=panel.entry.negatives)


def _row(
    experiment: Experiment, panel: PanelPlan, cells: Sequence[Cell], store: Store, data: Sequence[SampleSet]
) -> ScoredRow:
    """A row without its metrics, and the scores of the seeds that are complete."""
    first = cells[0]
    broken = next((reason for cell in cells if (reason := _broken_promise(cell, store, data))), "")
    done = [] if broken else [cell for cell in cells if store.all_done(cell.scores)]
    ranking = [cell for cell in done if store.all_done(cell.ranking)]
    status, reason = _status(cells, len(done), len(ranking))
    row = Row(
        model=first.model,
        kind=first.kind,
        backbone=first.backbone,
        shots=first.shots,
        control=first.control,
        seeds=tuple(cell.seed for cell in done),
        status=status,
        reason=broken or first.reason or reason,
        published={} if first.control else published(experiment.paper, panel.entry.name, first.model, first.shots),
        training=tuple(curve for cell in done if not first.control for curve in _curves(cell, store)),
    )

    def read(jobs: Sequence[Job]) -> list[ScoreFile]:
        return [ScoreFile.read(store.path(job.output)) for job in jobs]

    scores = RowScores.of([read(cell.scores) for cell in done], [read(cell.ranking) for cell in ranking], panel.orders)
    return ScoredRow(row, scores)


def _status(cells: Sequence[Cell], done: int, ranking: int) -> tuple[RowStatus, str]:
    """The status of a row with so many scored seeds, `ranking` of which ranked candidates; and why it is not done."""
    total = len(cells)
    if not done:
        return "not run", f"{total} of {total} seeds are missing"
    if done < total:
        return "partial", f"{total - done} of {total} seeds are missing"
    if cells[0].ranking and ranking < total:
        return "partial", f"{total - ranking} of {total} seeds ranked no candidates"
    return "done", ""


def _broken_promise(cell: Cell, store: Store, data: Sequence[SampleSet]) -> str:
    """Why a row may not be shown as zero-shot; "" where it may.

    Checked here too, because scores that are in the store may have been asked for without the promise.
    """
    if not cell.zero_shot:
        return ""
    try:
        for job in cell.trained:
            if store.is_done(job):
                for fold in data:
                    check_zero_shot(store.path(job.output), fold)
    except ConfigError as error:
        return str(error)
    return ""


def _unseen(panel: PanelPlan, store: Store, data: Sequence[SampleSet]) -> frozenset[str]:
    """Samples whose target's title no training data set showed.

    Of data with the panel's parts, part i is what the models that are tested on part i were shown.
    """
    samples: set[str] = set()
    for place, fold in enumerate(data if panel.entry.unseen_by else ()):
        parts = [jobs[place : place + 1] if len(jobs) == len(data) else jobs for jobs in panel.unseen_by]
        taught = [store.data(job.output) for jobs in parts for job in jobs]
        samples |= unseen_titles(fold, panel.entry.split, taught)
    return frozenset(samples)


def _curves(cell: Cell, store: Store) -> list[Curve]:
    """Training logs of a cell's models (of the first part), thinned."""
    if cell.kind != "tuned":
        return []
    path = store.path(cell.trained[0].output) / "metrics.jsonl"
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    validation = {entry["step"]: entry["validation"] for entry in entries if "validation" in entry}
    losses = [entry for entry in entries if "loss" in entry]
    step = max(1, -(-len(losses) // _CURVE_POINTS))
    kept = [entry for place, entry in enumerate(losses) if place % step == step - 1 or entry["step"] in validation]
    points = tuple(
        CurvePoint(step=entry["step"], loss=entry["loss"], validation=validation.get(entry["step"])) for entry in kept
    )
    return [Curve(seed=cell.seed, stage=cell.trained[0].name, points=points)]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def _machine() -> dict[str, str | int]:
    """Processor, cores and system; no name of the machine or of a user."""
    processor = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = [line for line in facts.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        processor = lines[0].partition(":")[2].strip() if lines else processor
    return {"processor": processor, "cores": os.cpu_count() or 1, "system": platform.system()}


def _audit(plan: ExperimentPlan, store: Store) -> dict[str, tuple[Finding, ...]]:
    """The audit of every data set that a panel tests on, of the first part where there are several."""
    findings: dict[str, tuple[Finding, ...]] = {}
    for panel in plan.panels:
        job = panel.data[0]
        path = store.path(job.output) / AUDIT_FILE
        if path.exists():
            report = AuditReport.model_validate_json(path.read_bytes())
            findings[job.name] = tuple(
                Finding(check=finding.code, severity=finding.severity, text=finding.message)
                for finding in report.findings
            )
    return findings
