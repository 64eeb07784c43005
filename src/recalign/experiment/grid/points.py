"""Jobs of data, backbones, teachers and stages: every tuned model of an experiment, and what it is made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recalign.artifacts import fingerprint, hash_file
from recalign.errors import DataError
from recalign.experiment.grid.config import Experiment, ExperimentStage
from recalign.experiment.grid.jobs import (
    BackboneRef,
    Job,
    NanoWork,
    PrepareWork,
    TeachWork,
    TuneWork,
    make_job,
)
from recalign.models.config import BackboneConfig
from recalign.tuning.backbones import NANO
from recalign.tuning.config import InstructionStage, RecStage, StageConfig


@dataclass(frozen=True)
class Point:
    """A tuned model of a stage at one point of the grid."""

    backbone: str
    fold: int | None
    shots: int | None
    seed: int
    selection: str
    job: Job


class Grid:
    """The jobs of an experiment's stages, collected as they are asked for."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.jobs: dict[str, Job] = {}
        self.points: dict[str, list[Point]] = {}
        self.hashes: dict[Path, str] = {}
        self.prepared: dict[tuple[str, int | None], Job] = {}

    def _content(self, path: Path) -> str:
        """Hash of an input, read once."""
        if path not in self.hashes:
            self.hashes[path] = input_fingerprint(path)
        return self.hashes[path]

    def _files(self, template: str | None, instructions: str = "") -> list[str]:
        """Hashes of the files that a configuration names; a shipped template is no file."""
        names = [template if template and template.endswith(".toml") else "", instructions]
        return [self._content(Path(name)) for name in names if name]

    def add(self, job: Job) -> Job:
        """The job, or the equal one that is there already."""
        return self.jobs.setdefault(job.key, job)

    def data(self, name: str, fold: int | None = None) -> Job:
        """The prepared data of a name; of one fold where it has folds (the first where none is asked for)."""
        if (name, fold) not in self.prepared:
            self.prepared[name, fold] = self._data(name, fold)
        return self.prepared[name, fold]

    def _data(self, name: str, fold: int | None) -> Job:
        config = self.experiment.data[name]
        if config.folds is not None:
            config = config.model_copy(update={"fold": fold or 0})
        content = self._content(config.input) if config.input is not None else ""
        items = self._content(config.items) if isinstance(config.items, Path) else ""
        label = name if config.folds is None else f"{name} fold {config.fold}"
        settings = config.stored(exclude={"output", "overwrite", "input", "items"})
        number = config.items if isinstance(config.items, int) else None
        depends = [settings, number, content, items, *self._files(config.template)]
        job = make_job("data", label, PrepareWork(config=config), depends, ())
        # its name is what manifests of what it taught call it
        return self.add(job.model_copy(update={"output": f"data/{label.replace(' ', '-')}-{job.key}"}))

    def folds(self, names: Sequence[str]) -> int | None:
        """Folds of the first of these data sets that has some."""
        return next((folds for name in names if (folds := self.experiment.folds_of(name)) is not None), None)

    def backbone(self, name: str) -> tuple[BackboneRef, tuple[Job, ...]]:
        """A backbone, and the job that builds it where it is nano."""
        entry = self.experiment.backbones[name]
        config = BackboneConfig.model_validate(entry.model_dump(include=set(BackboneConfig.model_fields)))
        if config.name != NANO:
            return BackboneRef(config=config), ()
        sources = tuple(self.data(each) for each in entry.sources or self.experiment.stages[0].data)
        targets = tuple(self.data(each) for each in entry.targets)
        work = NanoWork(
            backbone=config,
            nano=entry.nano,
            sources=tuple(job.output for job in sources),
            targets=tuple(job.output for job in targets),
        )
        depends = [entry.nano.model_dump(mode="json"), config.model_dump(mode="json"), len(sources)]
        job = self.add(make_job("backbones", f"backbone {name}", work, depends, (*sources, *targets), suffix=".json"))
        return BackboneRef(config=config, built=job.output), (job,)

    def teacher(self, name: str) -> Job:
        """The job that asks a teacher."""
        entry = self.experiment.teachers[name]
        data = self.data(entry.data)
        work = TeachWork(config=entry.config, data=data.output)
        content: object = entry.config.content()
        if files := self._files(entry.config.template):
            content = [content, files]
        return self.add(make_job("cot", f"teacher {name}", work, content, (data,)))

    def stage(self, stage: ExperimentStage) -> Iterator[Point]:
        """All models of a stage; those of its parent have been asked for before."""
        parents = self.points.get(stage.parent or "", [])
        seeded = bool(next((each.seeds for each in self.experiment.stages if each.name == stage.parent), ()))
        used = (*stage.data, *((stage.validation,) if stage.validation else ()))
        folds = self.folds(used)
        if folds is None and any(point.fold is not None for point in parents):
            folds = 1 + max(point.fold or 0 for point in parents)
        for backbone in self.experiment.backbones_of(stage):
            for fold in range(folds) if folds else (None,):
                for name, config in stage.expand():
                    seed = config.seed if seeded else None
                    parent = next((each for each in parents if _matches(each, backbone, fold, seed)), None)
                    job = self._tune(stage, name, config, backbone, fold, parent.job if parent else None)
                    rec = config if isinstance(config, RecStage) else RecStage()
                    shots = rec.shots if stage.shots_grid else None
                    yield Point(backbone, fold, shots, config.seed, rec.selection, job)

    def _tune(
        self,
        stage: ExperimentStage,
        name: str,
        config: StageConfig,
        backbone: str,
        fold: int | None,
        parent: Job | None,
    ) -> Job:
        ref, built = self.backbone(backbone)
        data = tuple(self.data(each, fold) for each in stage.data)
        paper = isinstance(config, RecStage) and config.selection == "paper"
        validation = self.data(stage.validation, fold) if stage.validation and paper else None
        unseen = tuple(job for each in stage.zero_shot_for for job in self.all_folds(each))
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
        depends += self._files(config.template, rows or "")
        title = " ".join([name, *([backbone] if len(self.experiment.backbones) > 1 else [])])
        title += "" if fold is None else f" fold {fold}"
        return self.add(make_job("models", title, work, depends, needs))

    def all_folds(self, name: str) -> list[Job]:
        """The prepared data of a name: every fold, or the only one."""
        folds = self.experiment.folds_of(name)
        return [self.data(name, fold) for fold in range(folds)] if folds else [self.data(name)]


def _matches(point: Point, backbone: str, fold: int | None, seed: int | None) -> bool:
    """Whether a child starts from this point of its parent; a parent without seeds or folds serves all of them."""
    return point.backbone == backbone and point.fold in (None, fold) and (seed is None or point.seed == seed)


def input_fingerprint(path: Path) -> str:
    """Hash of a file, or of all files of a directory with their names.

    Raises:
        DataError: It is not there, or cannot be read.
    """
    try:
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        if not files:
            raise DataError(f"input {path}", found="no file", expected="a data set", hint="Check the path.")
        return fingerprint([[str(each.relative_to(path.parent)), hash_file(each).sha256] for each in files])
    except OSError as error:
        raise DataError(f"input {path}", found=error.strerror or str(error), expected="readable files") from None
