"""One panel: score files of all its cells in, rows with metrics, intervals, verdicts and comparisons out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.experiment.config import Experiment
from recalign.experiment.controls import unseen_titles
from recalign.experiment.evaluation import priors_for
from recalign.experiment.execute import check_zero_shot
from recalign.experiment.jobs import Job
from recalign.experiment.measures import Scored, Tested, compare_rows, measured_row, verdicts
from recalign.experiment.plan import Cell, PanelPlan
from recalign.experiment.published import published
from recalign.experiment.ranking import RandomRanker, load_task, score_task
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.experiment.store import Store
from recalign.experiment.study import Curve, CurvePoint, Panel, Row, RowStatus
from recalign.metrics.ranking import candidate_values
from recalign.scoring.base import Scorer

_CURVE_POINTS: Final = 40


@dataclass
class _Group:
    """The cells of one row: a model at one point of the grid, over its seeds."""

    cells: list[Cell] = field(default_factory=list)

    @property
    def first(self) -> Cell:
        return self.cells[0]


def summarise_panel(experiment: Experiment, panel: PanelPlan, store: Store) -> Panel:
    """Everything about one panel whose data are prepared (`PanelPlan.reads`).

    Raises:
        ArtifactError, DataError: A score file or data set is damaged, or score files do not go together.
    """
    entry = panel.entry
    data = [SampleSet.load(store.path(job.output)) for job in panel.data]
    frame = pl.concat([each.frame(entry.split).select("sample_id", "user_id", "label") for each in data])
    unseen, unseen_note = _unseen(panel, store, data, frame)
    tested = Tested(resamples=entry.resamples, unseen=unseen)
    priors, note = _priors(panel, store, data)
    rows = [(measured_row(Row(model=name, kind="prior"), scored, tested), scored) for name, scored in priors.items()]
    for group in _groups(panel.cells):
        row, scored = _row(experiment, panel, group, store, data)
        rows.append((measured_row(row, scored, tested), scored))
    rows = verdicts(rows, tested)
    users = frame.group_by("user_id").agg(pl.col("label").n_unique())
    return Panel(
        name=entry.name,
        title=entry.title or entry.name,
        data=entry.data,
        split=entry.split,
        n=frame.height,
        n_users=users.height,
        positive_share=float(frame["label"].cast(pl.Float64).to_numpy().mean()),
        gauc_users=int((users["label"] > 1).sum()),
        priors_note=note,
        ranking_note=_ranking_note(panel, store),
        unseen_note=unseen_note,
        rows=tuple(row for row, _ in rows),
        comparisons=tuple(compare_rows(rows, entry.compare, tested)),
    )


def _groups(cells: Sequence[Cell]) -> list[_Group]:
    groups: dict[tuple[object, ...], _Group] = {}
    for cell in cells:
        groups.setdefault(cell.row, _Group()).cells.append(cell)
    return list(groups.values())


def _row(
    experiment: Experiment, panel: PanelPlan, group: _Group, store: Store, data: Sequence[SampleSet]
) -> tuple[Row, Scored]:
    """A row without its metrics, and the scores of the seeds that are complete."""
    first = group.first
    broken = next((reason for cell in group.cells if (reason := _broken_promise(cell, store, data))), "")
    done = [] if broken else [cell for cell in group.cells if _is_done(cell.scores, store)]
    ranked = [cell for cell in done if _is_done(cell.ranking, store)]
    status, reason = _status(group, len(done), len(ranked))
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
    files = [[ScoreFile.read(store.path(job.output)) for job in cell.scores] for cell in done]
    return row, Scored(
        frames=[pl.concat([each.frame for each in parts], how="diagonal") for parts in files],
        log_odds=all(each.log_odds for parts in files for each in parts),
        ranking=[
            pl.concat([candidate_values(ScoreFile.read(store.path(job.output)).frame) for job in cell.ranking])
            for cell in ranked
        ],
    )


def _is_done(jobs: Sequence[Job], store: Store) -> bool:
    return bool(jobs) and all(store.is_done(job) for job in jobs)


def _status(group: _Group, done: int, ranked: int) -> tuple[RowStatus, str]:
    """What a row of so many scored and ranked seeds is, and why it is not done."""
    total = len(group.cells)
    if not done:
        return "not run", f"{total} of {total} seeds are missing"
    if done < total:
        return "partial", f"{total - done} of {total} seeds are missing"
    if group.first.ranking and ranked < total:
        return "partial", f"{total - ranked} of {total} seeds ranked no candidates"
    return "done", ""


def _broken_promise(cell: Cell, store: Store, data: Sequence[SampleSet]) -> str:
    """Why a row may not be shown as zero-shot; "" where it may.

    Checked here too, because scores that are found in the store may have been asked for without the promise.
    """
    if not cell.zero_shot:
        return ""
    models = [store.path(job.output) for job in cell.trained]
    try:
        for model in models:
            if model.exists():
                for each in data:
                    check_zero_shot(model, each)
    except ConfigError as error:
        return str(error)
    return ""


def _priors(panel: PanelPlan, store: Store, data: Sequence[SampleSet]) -> tuple[dict[str, Scored], str]:
    """The priors' scores, each pooled over the folds, and what they learned from."""
    entry = panel.entry
    fits = panel.fit
    ranks = _is_done(panel.candidates, store)
    found: dict[str, Scored] = {}
    note = ""
    for index, each in enumerate(data):
        fit = SampleSet.load(store.path(fits[index % len(fits)].output)) if fits else None
        priors = priors_for(each, fit)
        note = priors.note.replace("--fit", f"data set {entry.fit}") if entry.fit else priors.note
        task = load_task(store.path(panel.candidates[index].output), each) if ranks else None
        for scorer in priors.scorers:
            scored = found.setdefault(scorer.name, Scored([], scorer.log_odds, []))
            scored.frames.append(score_split(scorer, each, entry.split).frame)
            if task is not None:
                scored.ranking.append(candidate_values(score_task(scorer, task).frame))
        if task is not None:
            random: Scorer = RandomRanker()
            scored = found.setdefault(random.name, Scored([], False, []))
            scored.ranking.append(candidate_values(score_task(random, task).frame))
    if len(data) > 1:
        note += f" {len(data)} folds: each part of the users is tested by what the others taught."
    return {name: _pooled(scored) for name, scored in found.items()}, note


def _pooled(scored: Scored) -> Scored:
    frames = [pl.concat(scored.frames, how="diagonal")] if scored.frames else []
    return Scored(frames, scored.log_odds, [pl.concat(scored.ranking)] if scored.ranking else [])


def _unseen(
    panel: PanelPlan, store: Store, data: Sequence[SampleSet], frame: pl.DataFrame
) -> tuple[frozenset[str], str]:
    """Samples whose target's title no training data set showed, and a sentence about them.

    Of data with the panel's folds, fold i is what the models that are tested on fold i were shown.
    """
    names = panel.entry.unseen_by
    if not names:
        return frozenset(), ""
    found: set[str] = set()
    for index, each in enumerate(data):
        parts = [jobs[index : index + 1] if len(jobs) == len(data) else jobs for jobs in panel.unseen_by]
        taught = [SampleSet.load(store.path(job.output)) for jobs in parts for job in jobs]
        found |= unseen_titles(each, panel.entry.split, taught)
    note = f"{len(found):,} of {frame.height:,} targets have a title that {', '.join(names)} never showed."
    return frozenset(found), note


def _ranking_note(panel: PanelPlan, store: Store) -> str:
    if not panel.candidates:
        return ""
    if not _is_done(panel.candidates, store):
        return "Nothing is ranked: the candidates could not be drawn."
    tasks = [
        load_task(store.path(job.output), SampleSet.load(store.path(data.output)))
        for job, data in zip(panel.candidates, panel.data, strict=True)
    ]
    lists = [each for task in tasks for each in task.lists]
    return (
        f"{panel.entry.candidates + 1} candidates: one liked target among {panel.entry.candidates} items that the user "
        f"never met, drawn uniformly; {len(lists):,} lists of {len({each.user_id for each in lists}):,} users."
    )


def _curves(cell: Cell, store: Store) -> list[Curve]:
    """Training logs of a cell's models (of the first fold), thinned."""
    if cell.kind != "tuned":
        return []
    path = store.path(cell.trained[0].output) / "metrics.jsonl"
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    validation = {each["step"]: each["validation"] for each in entries if "validation" in each}
    losses = [each for each in entries if "loss" in each]
    step = max(1, -(-len(losses) // _CURVE_POINTS))
    kept = [each for index, each in enumerate(losses) if index % step == step - 1 or each["step"] in validation]
    points = tuple(
        CurvePoint(step=each["step"], loss=each["loss"], validation=validation.get(each["step"])) for each in kept
    )
    return [Curve(seed=cell.seed, stage=cell.trained[0].name, points=points)]
