"""One panel: score files of all its cells in, rows with metrics, intervals, verdicts and comparisons out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from recalign.data.samples import SampleSet
from recalign.experiment.controls import unseen_titles
from recalign.experiment.evaluation import priors_for
from recalign.experiment.grid.config import Experiment
from recalign.experiment.grid.expansion import Cell, PanelPlan, Plan
from recalign.experiment.grid.jobs import Job
from recalign.experiment.grid.measures import Scored, Tested, compare_rows, measured_row, verdicts
from recalign.experiment.grid.published import published
from recalign.experiment.grid.store import Store
from recalign.experiment.ranking import RandomRanker, load_task, score_task
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.experiment.study import Curve, CurvePoint, Panel, Row
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


def summarise_panel(experiment: Experiment, plan: Plan, panel: PanelPlan, store: Store) -> Panel:
    """Everything about one panel.

    Raises:
        ArtifactError, DataError: A score file or data set is damaged, or score files do not go together.
    """
    entry = panel.entry
    data = [SampleSet.load(store.path(job.output)) for job in panel.data]
    frame = pl.concat([each.frame(entry.split).select("sample_id", "user_id", "label") for each in data])
    unseen, unseen_note = _unseen(panel, plan, store, data, frame)
    tested = Tested(resamples=entry.resamples, unseen=unseen)
    priors, note = _priors(panel, store, data, experiment, plan)
    rows = [(measured_row(Row(model=name, kind="prior"), scored, tested), scored) for name, scored in priors.items()]
    for group in _groups(panel.cells):
        row, scored = _row(experiment, panel, group, store)
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
        groups.setdefault((cell.model, cell.backbone, cell.shots, cell.control), _Group()).cells.append(cell)
    return list(groups.values())


def _row(experiment: Experiment, panel: PanelPlan, group: _Group, store: Store) -> tuple[Row, Scored]:
    """A row without its metrics, and the scores of the seeds that are complete."""
    first = group.first
    done = [cell for cell in group.cells if cell.scores and all(store.is_done(job) for job in cell.scores)]
    status = "done" if len(done) == len(group.cells) else "partial" if done else "not run"
    reason = first.reason or (
        "" if status == "done" else f"{len(group.cells) - len(done)} of {len(group.cells)} seeds are missing"
    )
    row = Row(
        model=first.model,
        kind=first.kind,
        backbone=first.backbone,
        shots=first.shots,
        control=first.control,
        seeds=tuple(cell.seed for cell in done),
        status=status,
        reason=reason,
        published={} if first.control else published(experiment.paper, panel.entry.name, first.model, first.shots),
        training=tuple(curve for cell in done if not first.control for curve in _curves(cell, store)),
    )
    files = [[ScoreFile.read(store.path(job.output)) for job in cell.scores] for cell in done]
    ranked = [cell for cell in done if cell.ranking and all(store.is_done(job) for job in cell.ranking)]
    return row, Scored(
        frames=[pl.concat([each.frame for each in parts], how="diagonal") for parts in files],
        log_odds=all(each.log_odds for parts in files for each in parts),
        ranking=[
            pl.concat([candidate_values(ScoreFile.read(store.path(job.output)).frame) for job in cell.ranking])
            for cell in ranked
        ],
    )


def _priors(
    panel: PanelPlan, store: Store, data: Sequence[SampleSet], experiment: Experiment, plan: Plan
) -> tuple[dict[str, Scored], str]:
    """The priors' scores, each pooled over the folds, and what they learned from."""
    entry = panel.entry
    fits = _jobs_of(plan, experiment, entry.fit) if entry.fit else []
    found: dict[str, Scored] = {}
    note = ""
    for index, each in enumerate(data):
        fit = SampleSet.load(store.path(fits[index % len(fits)].output)) if fits else None
        priors = priors_for(each, fit)
        note = priors.note.replace("--fit", f"data set {entry.fit}") if entry.fit else priors.note
        task = load_task(store.path(panel.candidates[index].output), each) if panel.candidates else None
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


def _jobs_of(plan: Plan, experiment: Experiment, name: str) -> list[Job]:
    """The prepare jobs of a data set, in the order of its folds."""
    folds = experiment.folds_of(name)
    names = [name] if folds is None else [f"{name} fold {fold}" for fold in range(folds)]
    by_name = {job.name: job for job in plan.jobs.values() if job.work.kind == "prepare"}
    return [by_name[each] for each in names]


def _unseen(
    panel: PanelPlan, plan: Plan, store: Store, data: Sequence[SampleSet], frame: pl.DataFrame
) -> tuple[frozenset[str], str]:
    """Samples whose target's title no training data set showed, and a sentence about them."""
    names = panel.entry.unseen_by
    if not names:
        return frozenset(), ""
    jobs = [
        job for job in plan.jobs.values() if job.work.kind == "prepare" and job.name.partition(" fold ")[0] in names
    ]
    taught = [SampleSet.load(store.path(job.output)) for job in jobs]
    found = frozenset(sample for each in data for sample in unseen_titles(each, panel.entry.split, taught))
    return found, f"{len(found):,} of {frame.height:,} targets have a title that {', '.join(names)} never showed."


def _ranking_note(panel: PanelPlan, store: Store) -> str:
    if not panel.candidates:
        return ""
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
