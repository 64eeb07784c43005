"""From an experiment to its jobs: every point of the grid, what it is made from, and where its scores will be.

Nothing is trained or written here; input files are read to hash them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from recalign.baselines.factorisation import reference_name
from recalign.baselines.priors import NEEDS_FIT, PREFIX
from recalign.errors import ConfigError
from recalign.evaluation.document import RowKind
from recalign.experiment.config import Experiment
from recalign.experiment.entries import BaselineEntry, InContextEntry, PanelEntry, StageEntry
from recalign.experiment.graph import JobGraph, TunedModel
from recalign.experiment.store import BaselineWork, CandidatesWork, Job, ScoreWork


@dataclass(frozen=True)
class Cell:
    """A model of one training seed on one panel: what it is called there, and the jobs that made and scored it.

    Attributes:
        model, kind, backbone, shots, control, seed: As in `recalign.evaluation.document.Row`.
        scores: Score jobs, one per part of the panel's data.
        ranking: The same for candidates; empty where none are ranked.
        trained: The jobs that trained it.
        zero_shot: Whether it may have seen no label of the panel's data.
        reason: Why there is nothing to run ("" where there is).
    """

    model: str
    kind: RowKind
    backbone: str
    shots: int | None
    control: str
    seed: int
    scores: tuple[Job, ...] = ()
    ranking: tuple[Job, ...] = ()
    trained: tuple[Job, ...] = ()
    zero_shot: bool = False
    reason: str = ""

    @property
    def row(self) -> tuple[str, str, int | None, str]:
        """The row it belongs to: cells of one row differ in their seed alone."""
        return self.model, self.backbone, self.shots, self.control


@dataclass
class PanelPlan:
    """A panel, its prepared data (one per part), its frozen candidates (likewise) and its cells.

    `orders` has the order seed of each part; parts of one order seed are folds of the same samples.
    `fit` is the prepared data that the item priors learn from (none: its own), `unseen_by` that whose titles are known.
    """

    entry: PanelEntry
    data: list[Job]
    orders: tuple[int, ...]
    fit: list[Job] = field(default_factory=list)
    unseen_by: list[list[Job]] = field(default_factory=list)
    candidates: list[Job] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)

    @property
    def reads(self) -> list[Job]:
        """Data without which there is no panel."""
        return [*self.data, *self.fit, *(job for jobs in self.unseen_by for job in jobs)]


@dataclass
class ExperimentPlan:
    """Jobs by key, each after those that it needs; the panels; and the models of each stage that is run."""

    jobs: dict[str, Job]
    panels: list[PanelPlan]
    models: dict[str, list[TunedModel]]


def plan_experiment(experiment: Experiment) -> ExperimentPlan:
    """All jobs of an experiment.

    Raises:
        ConfigError: Two models of a panel have the same name, a comparison names none, or a stage lacks its parent.
        DataError: An input file is missing or cannot be read.
    """
    return _Planner(experiment).plan()


class _Planner:
    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.graph = experiment, JobGraph(experiment)

    def plan(self) -> ExperimentPlan:
        wanted_stages = self._wanted_stages()
        for stage in self.experiment.stages:
            if stage.name in wanted_stages:
                self.graph.models[stage.name] = list(self.graph.stage(stage))
        panels = [self._panel(entry) for entry in self.experiment.panels]
        jobs, models = self.graph.jobs, self.graph.models
        wanted = {model.job.key for tuned in models.values() for model in tuned} if not panels else set[str]()
        for panel in panels:
            wanted |= {job.key for job in (*panel.reads, *panel.candidates)}
            wanted |= {job.key for cell in panel.cells for job in (*cell.scores, *cell.ranking)}
        for key in reversed(jobs):  # a job comes after those that it needs
            if key in wanted:
                wanted.update(jobs[key].needs)
        return ExperimentPlan({key: job for key, job in jobs.items() if key in wanted}, panels, models)

    def _wanted_stages(self) -> set[str]:
        """Stages that a panel shows, and those that they start from (a shared file has more); all without a panel."""
        if not self.experiment.panels:
            return {stage.name for stage in self.experiment.stages}
        wanted = {name for panel in self.experiment.panels for name in panel.stages}
        for stage in reversed(self.experiment.stages):  # a parent comes before its children
            if stage.name in wanted and stage.parent:
                wanted.add(stage.parent)
        return wanted

    def _panel(self, entry: PanelEntry) -> PanelPlan:
        plan = PanelPlan(entry, self.graph.parts(entry.data), self.experiment.data[entry.data].orders)
        plan.fit = self.graph.parts(entry.fit) if entry.fit else []
        plan.unseen_by = [self.graph.parts(name) for name in entry.unseen_by]
        if entry.negatives:
            for data in plan.data:
                work = CandidatesWork(data=data.output, split=entry.split, negatives=entry.negatives)
                depends, name = [entry.split, entry.negatives], f"candidates {data.name}"
                plan.candidates.append(self.graph.add("candidates", name, work, depends, (data,)))
        stages = {stage.name: stage for stage in self.experiment.stages}
        for name in entry.stages:
            _add_cells(plan, self._stage_cells(plan, stages[name]))
        for baseline in self.experiment.baselines:
            if entry.data in baseline.data:
                _add_cells(plan, self._baseline_cells(plan, baseline))
        for context in self.experiment.in_context:
            if entry.data in context.data:
                _add_cells(plan, self._context_cells(plan, context))
        _check_compared(plan)
        return plan

    def _stage_cells(self, plan: PanelPlan, stage: StageEntry) -> Iterator[Cell]:
        entry = plan.entry
        label = entry.labels.get(stage.name) or stage.label or stage.name
        ranks = bool(plan.candidates) and stage.name in (entry.ranked or entry.stages)
        controls = entry.controls if stage.name in (entry.controlled or entry.stages) else ()
        lineage = self._data_of(stage)
        groups: dict[tuple[str, int | None, str, int], list[TunedModel]] = {}
        for model in self.graph.models[stage.name]:
            if model.shots is not None and entry.shots and model.shots not in entry.shots:
                continue
            groups.setdefault((model.backbone, model.shots, model.selection, model.seed), []).append(model)
        for (backbone, shots, selection, seed), tuned in groups.items():
            title = f"{label} ({selection})" if len(stage.selection) > 1 else label
            # on data that it has no parts of, a model with parts is represented by its first
            own = entry.data in lineage and [model.part for model in tuned] == list(range(len(plan.data)))
            models = [model.job for model in tuned] if own else [tuned[0].job] * len(plan.data)
            zero_shot = stage.name in entry.zero_shot
            for control in ("", *controls):
                cell = Cell(title, "tuned", backbone, shots, control, seed, zero_shot=zero_shot)
                yield self._scored(plan, cell, models, ranks=ranks and not control)

    def _data_of(self, stage: StageEntry) -> set[str]:
        """Data sets that a stage or one that it starts from reads."""
        named = {each.name: each for each in self.experiment.stages}
        data = set(stage.reads)
        while stage.parent is not None:
            stage = named[stage.parent]
            data.update(stage.reads)
        return data

    def _baseline_cells(self, plan: PanelPlan, entry: BaselineEntry) -> Iterator[Cell]:
        for model, shots, seed in itertools.product(entry.models, entry.shots or (None,), entry.seeds):
            config = entry.config(model, shots, seed)
            cell = Cell(config.plugin.title, "baseline", "", shots, "", seed)
            if config.text and not entry.text_encoder:
                yield replace(cell, reason="no text encoder was given")
                continue
            encoder = entry.text_encoder if config.text else None
            jobs = []
            for data in plan.data:
                work = BaselineWork(config=config, data=data.output, text_encoder=encoder)
                name = f"{cell.model} {data.name} {shots or 'all'}-shot seed {seed}"
                jobs.append(self.graph.add("models", name, work, [config.stored(), encoder], (data,)))
            yield self._scored(plan, cell, jobs, ranks=bool(plan.candidates))

    def _context_cells(self, plan: PanelPlan, entry: InContextEntry) -> Iterator[Cell]:
        split = plan.entry.split
        for backbone, count in itertools.product(self.experiment.backbones_of(entry), entry.demonstrations):
            ref, built = self.graph.backbone(backbone)
            label = f"{entry.label}, {count} examples" if count else entry.label
            for seed in entry.seeds if count else entry.seeds[:1]:
                scores = []
                for data in plan.data:
                    work = ScoreWork(
                        data=data.output,
                        split=split,
                        seed=seed,
                        label=label,
                        in_context=ref,
                        demonstrations=count,
                        template=entry.template,
                    )
                    name = f"score {label} {backbone} on {data.name} seed {seed}"
                    depends = [split, seed, count, ref.config.model_dump(mode="json")]
                    depends += [entry.template, *self.graph.files(entry.template)] if entry.template else []
                    scores.append(self.graph.add("scores", name, work, depends, (data, *built), suffix=".parquet"))
                yield Cell(label, "in-context", backbone, None, "", seed, tuple(scores))

    def _scored(self, plan: PanelPlan, cell: Cell, models: Sequence[Job], *, ranks: bool) -> Cell:
        """The cell with the jobs that score it with `models`, one per part of the panel's data."""
        return replace(
            cell,
            scores=tuple(self._scores(plan, cell, models)),
            ranking=tuple(self._scores(plan, cell, models, plan.candidates)) if ranks else (),
            trained=tuple(dict.fromkeys(models)),
        )

    def _scores(
        self, plan: PanelPlan, cell: Cell, models: Sequence[Job], candidates: Sequence[Job] = ()
    ) -> Iterator[Job]:
        for place, (data, model) in enumerate(zip(plan.data, models, strict=True)):
            lists = candidates[place] if candidates else None
            work = ScoreWork(
                data=data.output,
                split=plan.entry.split,
                seed=cell.seed,
                label=cell.model,
                model=model.output,
                candidates=lists.output if lists else None,
                control=cell.control,
                zero_shot=cell.zero_shot and lists is None,
            )
            needs = (data, model, *((lists,) if lists else ()))
            what = "rank" if lists else "score"
            name = f"{what} {model.name} on {data.name}{' ' + cell.control if cell.control else ''}"
            depends = [plan.entry.split, cell.control]
            yield self.graph.add("scores", name, work, depends, needs, suffix=".parquet")


def _add_cells(plan: PanelPlan, cells: Iterable[Cell]) -> None:
    """Add the cells of one stage or entry that the panel shows. Cells of one row are its training seeds, each once.

    Raises:
        ConfigError: Another stage or entry has a row of that name, or a seed comes twice.
    """
    before = {cell.row for cell in plan.cells}
    seeds: set[tuple[object, ...]] = set()
    for cell in cells:
        if plan.entry.seeds and cell.seed not in plan.entry.seeds:
            continue
        place = (*cell.row, cell.seed)
        if cell.row in before or place in seeds:
            shots = "" if cell.shots is None else f" with {cell.shots} shots"
            raise ConfigError(
                f"panel {plan.entry.name}, row {cell.model!r}{shots}",
                found=f"two models of seed {cell.seed}" if place in seeds else "two stages or entries of that name",
                expected="one",
                hint="Give stages of one panel different labels, and list values of a grid once.",
            )
        seeds.add(place)
        plan.cells.append(cell)


def _check_compared(plan: PanelPlan) -> None:
    """Refuse comparisons of rows that are not there. Raises ConfigError."""
    names = sorted({cell.model for cell in plan.cells})
    known = {*names, *(PREFIX + name for name in NEEDS_FIT), *map(reference_name, plan.entry.references)}
    if unknown := [name for pair in plan.entry.compare for name in pair if name not in known]:
        row, rows = f"no row {unknown[0]!r}", ", ".join(map(repr, names))
        raise ConfigError(f"panel {plan.entry.name}, compare", found=row, expected=rows)
