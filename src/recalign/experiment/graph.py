"""Jobs of data, backbones, teachers and stages: every tuned model of an experiment, and what it is made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from recalign.experiment.config import Experiment
from recalign.experiment.entries import StageEntry, StagePoint
from recalign.experiment.inputs import input_fingerprint
from recalign.experiment.store import BackboneRef, Job, NanoWork, PrepareWork, TeachWork, TuneWork, Work, make_job
from recalign.tuning.backbones import NANO
from recalign.tuning.config import InstructionStage, RecStage


@dataclass(frozen=True)
class TunedModel:
    """A model of a stage: on one backbone, at one K (if any), seed and rule of selection (if given).

    `part` says on which part of the data; None where it has one.
    """

    backbone: str
    part: int | None
    shots: int | None
    seed: int
    selection: str
    job: Job


class JobGraph:
    """The jobs of an experiment, collected as they are asked for."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.jobs: dict[str, Job] = {}
        self.models: dict[str, list[TunedModel]] = {}
        self.content = cache(input_fingerprint)
        self.data = cache(self._data)

    def add(
        self, folder: str, name: str, work: Work, depends: object, needs: tuple[Job, ...], *, suffix: str = ""
    ) -> Job:
        """A job as `make_job` makes it, or the equal one that is there already."""
        return self._kept(make_job(folder, name, work, depends, needs, suffix=suffix))

    def _kept(self, job: Job) -> Job:
        return self.jobs.setdefault(job.key, job)

    def files(self, template: str | None, instructions: str = "") -> list[str]:
        """Hashes of the files that a configuration names; a shipped template is no file."""
        names = [template if template and template.endswith(".toml") else "", instructions]
        return [self.content(Path(name)) for name in names if name]

    def _data(self, name: str, part: int | None = None) -> Job:
        """The prepared data of a name; of one part where it has several (the first where none is asked for)."""
        entry = self.experiment.data[name]
        place = (part or 0) if len(entry.orders) > 1 else 0
        config = entry.part(place)
        content = self.content(config.input) if config.input is not None else ""
        items = self.content(config.items) if isinstance(config.items, Path) else ""
        label = entry.part_name(name, place)
        settings = config.stored(exclude={"output", "overwrite", "input", "items"})
        number = config.items if isinstance(config.items, int) else None
        depends = [settings, number, content, items, *self.files(config.template)]
        job = make_job("data", label, PrepareWork(config=config), depends, ())
        # its name is what manifests of what it taught call it
        return self._kept(job.model_copy(update={"output": f"data/{label.replace(' ', '-')}-{job.key}"}))

    def parts(self, name: str) -> list[Job]:
        """The prepared data of a name: every part, or the only one."""
        return [self.data(name, part) for part in range(len(self.experiment.data[name].orders))]

    def backbone(self, name: str) -> tuple[BackboneRef, tuple[Job, ...]]:
        """A backbone, and the job that builds it where it is nano."""
        entry = self.experiment.backbones[name]
        config = entry.config
        if config.name != NANO:
            return BackboneRef(config=config), ()
        sources = tuple(self.data(source) for source in entry.sources or self.experiment.stages[0].data)
        targets = tuple(self.data(target) for target in entry.targets)
        work = NanoWork(
            backbone=config,
            nano=entry.nano,
            sources=tuple(job.output for job in sources),
            targets=tuple(job.output for job in targets),
        )
        depends = [entry.nano.model_dump(mode="json"), config.model_dump(mode="json"), len(sources)]
        job = self.add("backbones", f"backbone {name}", work, depends, (*sources, *targets), suffix=".json")
        return BackboneRef(config=config, built=job.output), (job,)

    def teacher(self, name: str) -> Job:
        """The job that asks a teacher."""
        entry = self.experiment.teachers[name]
        data = self.data(entry.data)
        work = TeachWork(config=entry.config, data=data.output)
        content: object = entry.config.content()
        if files := self.files(entry.config.template):
            content = [content, files]
        return self.add("cot", f"teacher {name}", work, content, (data,))

    def stage(self, stage: StageEntry) -> Iterator[TunedModel]:
        """All models of a stage; those of its parent have been asked for before."""
        parents = self.models.get(stage.parent or "", [])
        seeded = len({parent.seed for parent in parents}) > 1
        for backbone in self.experiment.backbones_of(stage):
            for part in self._parts(stage, parents):
                for point in stage.points(backbone):
                    seed = point.config.seed
                    fitting = [
                        model.job
                        for model in parents
                        if model.backbone == backbone
                        and model.part in (None, part)
                        and (not seeded or model.seed == seed)
                    ]
                    job = self._tune(stage, point, backbone, part, fitting[0] if fitting else None)
                    yield TunedModel(backbone, part, point.shots, seed, point.selection, job)

    def _parts(self, stage: StageEntry, parents: Sequence[TunedModel]) -> Sequence[int | None]:
        """Parts of the first of the stage's data sets that has several, or of its parent."""
        counts = [count for name in stage.reads if (count := len(self.experiment.data[name].orders)) > 1]
        counts += [model.part + 1 for model in reversed(parents) if model.part is not None]
        return range(counts[0]) if counts else (None,)

    def _tune(self, stage: StageEntry, point: StagePoint, backbone: str, part: int | None, parent: Job | None) -> Job:
        config = point.config
        ref, built = self.backbone(backbone)
        data = tuple(self.data(name, part) for name in stage.data)
        paper = isinstance(config, RecStage) and config.selection == "paper"
        validation = self.data(stage.validation, part) if stage.validation and paper else None
        unseen = tuple(job for name in stage.zero_shot_for for job in self.parts(name))
        cot = self.teacher(stage.teacher) if config.kind == "cot" and stage.teacher else None
        work = TuneWork(
            config=config,
            data=tuple(job.output for job in data),
            backbone=ref,
            parent=parent.output if parent else None,
            validation=validation.output if validation else None,
            unseen=tuple(job.output for job in unseen),
            cot=cot.output if cot else None,
        )
        needs = (*data, *built, *(job for job in (parent, validation, cot) if job), *unseen)
        depends = [config.model_dump(mode="json"), ref.config.model_dump(mode="json"), len(data), len(unseen)]
        rows = config.instruction_file if isinstance(config, InstructionStage) else None
        depends += self.files(config.template, rows or "")
        title = " ".join([point.name, *([backbone] if len(self.experiment.backbones_of(stage)) > 1 else [])])
        if part is not None:
            read = (self.experiment.data[name] for name in stage.reads)
            title += next((entry.part_name("", part) for entry in read if len(entry.orders) > 1), f" part {part}")
        return self.add("models", title, work, depends, needs)
