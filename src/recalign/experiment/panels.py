"""One panel of a run: collects the score files of all its cells from the store, and hands them to the evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import polars as pl

from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.evaluation.controls import unseen_titles
from recalign.evaluation.document import Curve, CurvePoint, Panel, PanelFacts, Ranked, Row, RowStatus, Unseen
from recalign.evaluation.metric import UNSEEN_TITLES
from recalign.evaluation.panel import build_panel, sample_counts
from recalign.evaluation.priors import Fold, prior_rows
from recalign.evaluation.ranking import load_task, ranked
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings
from recalign.evaluation.score_file import ScoreFile
from recalign.experiment.config import Experiment
from recalign.experiment.execute import check_zero_shot
from recalign.experiment.jobs import Job
from recalign.experiment.plan import Cell, PanelPlan
from recalign.experiment.published import published
from recalign.experiment.store import Store

_CURVE_POINTS: Final = 40


def collect_panel(experiment: Experiment, panel: PanelPlan, store: Store) -> Panel:
    """Everything about one panel whose data are prepared (`PanelPlan.reads`).

    Raises:
        ArtifactError, DataError: A score file or data set is damaged, or score files do not go together.
    """
    entry = panel.entry
    folds = _folds(panel, store)
    data = [fold.data for fold in folds]
    frame = pl.concat([fold.frame(entry.split).select("sample_id", "user_id", "label") for fold in data])
    priors, learned = prior_rows(folds, entry.split, fit_name=entry.fit or "")
    unseen = _unseen(panel, store, data)
    facts = PanelFacts(
        name=entry.name,
        title=entry.title or entry.name,
        data=entry.data,
        split=entry.split,
        fingerprints=tuple(fold.fingerprint for fold in data),
        learned=learned,
        ranked=_ranked(panel, folds),
        unseen=Unseen(count=len(unseen), data=entry.unseen_by) if entry.unseen_by else None,
        **sample_counts(frame),
    )
    settings = TestSettings(resamples=entry.resamples, subsets={UNSEEN_TITLES: unseen})
    rows = [_row(experiment, panel, cells, store, data) for cells in _cells_by_row(panel.cells)]
    return build_panel(facts, [*priors, *rows], settings, entry.compare)


def _folds(panel: PanelPlan, store: Store) -> list[Fold]:
    def loaded(jobs: Sequence[Job]) -> list[SampleSet]:
        return [SampleSet.load(store.path(job.output)) for job in jobs]

    fits = loaded(panel.fit)
    ranks = _is_done(panel.candidates, store)
    return [
        Fold(
            data,
            fits[place % len(fits)] if fits else None,
            load_task(store.path(panel.candidates[place].output), data) if ranks else None,
        )
        for place, data in enumerate(loaded(panel.data))
    ]


def _ranked(panel: PanelPlan, folds: Sequence[Fold]) -> Ranked | None:
    if not panel.candidates:
        return None
    tasks = [fold.task for fold in folds if fold.task is not None]
    return ranked(tasks) if tasks else Ranked(negatives=panel.entry.candidates)


def _cells_by_row(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each row, one per training seed."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.row, []).append(cell)
    return list(groups.values())


def _row(
    experiment: Experiment, panel: PanelPlan, cells: Sequence[Cell], store: Store, data: Sequence[SampleSet]
) -> ScoredRow:
    """A row without its metrics, and the scores of the seeds that are complete."""
    first = cells[0]
    broken = next((reason for cell in cells if (reason := _broken_promise(cell, store, data))), "")
    done = [] if broken else [cell for cell in cells if _is_done(cell.scores, store)]
    ranking = [cell for cell in done if _is_done(cell.ranking, store)]
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

    scores = RowScores.of([read(cell.scores) for cell in done], [read(cell.ranking) for cell in ranking])
    return ScoredRow(row, scores)


def _is_done(jobs: Sequence[Job], store: Store) -> bool:
    return bool(jobs) and all(store.is_done(job) for job in jobs)


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
    models = [store.path(job.output) for job in cell.trained]
    try:
        for model in models:
            if model.exists():
                for fold in data:
                    check_zero_shot(model, fold)
    except ConfigError as error:
        return str(error)
    return ""


def _unseen(panel: PanelPlan, store: Store, data: Sequence[SampleSet]) -> frozenset[str]:
    """Samples whose target's title no training data set showed.

    Of data with the panel's folds, fold i is what the models that are tested on fold i were shown.
    """
    samples: set[str] = set()
    for place, fold in enumerate(data if panel.entry.unseen_by else ()):
        parts = [jobs[place : place + 1] if len(jobs) == len(data) else jobs for jobs in panel.unseen_by]
        taught = [SampleSet.load(store.path(job.output)) for jobs in parts for job in jobs]
        samples |= unseen_titles(fold, panel.entry.split, taught)
    return frozenset(samples)


def _curves(cell: Cell, store: Store) -> list[Curve]:
    """Training logs of a cell's models (of the first fold), thinned."""
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
