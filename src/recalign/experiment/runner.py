"""The runner: a recipe in, a run directory out. Only this module knows how a run directory is laid out.

::

    RUN/data/NAME/        prepared data sets (artefacts)
    RUN/cot/NAME/         chain-of-thought data of every teacher (artefacts)
    RUN/models/NAME/      one model artefact per stage (and per point of its grid)
    RUN/candidates/NAME/  ranking candidates of every evaluation that asks for them (artefacts)
    RUN/scores/*.parquet  per-sample and per-candidate scores of every evaluated model
    RUN/results.json      metrics of every model, and the tables printed from them
    RUN/results.md        the same tables as Markdown

What is there and was made from the same inputs is not made again, so a stopped run continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from recalign.artifacts import read_manifest
from recalign.cot.teach import is_done as teaching_is_done
from recalign.cot.teach import teach
from recalign.cot.teachers import make_teacher
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError
from recalign.experiment.config import Recipe, TeacherEntry
from recalign.experiment.prepare import prepare
from recalign.experiment.prepare_config import PrepareConfig
from recalign.models.config import BackboneConfig
from recalign.tuning.backbones import resolve_backbone
from recalign.tuning.loop import StepReport
from recalign.tuning.provenance import StageInputs, check_data
from recalign.tuning.stage import tune_curriculum


class Reporter(Protocol):
    """What a run tells while it works; the command line shows it, tests ignore it."""

    def note(self, text: str) -> None:
        """One line about what happens next or has been found done."""
        ...

    def task(self, name: str) -> Callable[[StepReport], None]:
        """A progress callback for a training loop called `name`."""
        ...


class Silent:
    """A `Reporter` that says nothing."""

    def note(self, text: str) -> None:
        """Ignore `text`."""

    def task(self, name: str) -> Callable[[StepReport], None]:
        """A callback that ignores its reports."""
        return lambda report: None


@dataclass(frozen=True)
class Run:
    """Artefacts of a recipe: data sets and models by name; `grids` maps a stage to the names of its models."""

    data: dict[str, SampleSet]
    models: dict[str, Path] = field(default_factory=dict)
    grids: dict[str, list[str]] = field(default_factory=dict)


def tune_recipe(recipe: Recipe, output: Path, *, restart: bool = False, reporter: Reporter | None = None) -> Run:
    """Prepare the data, build the backbone and run all stages of a recipe.

    Args:
        recipe: The recipe.
        output: The run directory; what it already holds is kept where it fits and refused where it does not.
        restart: Discard models and checkpoints made from other inputs instead of refusing them.
        reporter: Where progress is told.

    Raises:
        RecalignError: See `prepare`, `build_nano` and `tune_stage`.
    """
    reporter = reporter or Silent()
    data = {name: _prepared(name, config, output, restart, reporter) for name, config in recipe.data.items()}
    run = Run(data)
    for stage in recipe.stages:
        check_data(stage.config, [data[key] for key in stage.data])
    backbone = _backbone(recipe, run, reporter)
    taught = {
        name: _taught(name, entry, data[entry.data], output, restart, reporter)
        for name, entry in recipe.teachers.items()
    }
    for stage in recipe.stages:
        run.grids[stage.name] = []
        for name, config in stage.expand():
            inputs = StageInputs(
                config=config,
                data=[data[key] for key in stage.data],
                backbone=backbone,
                parent=run.models[stage.parent] if stage.parent else None,
                validation=data[stage.validation] if stage.validation else None,
                unseen=[data[key] for key in stage.zero_shot_for],
                cot=taught[stage.teacher] if stage.teacher else None,
            )
            run.models[name] = tune_curriculum(
                name, inputs, output / "models", restart=restart, note=reporter.note, progress_for=reporter.task
            )
            run.grids[stage.name].append(name)
    return run


def _prepared(name: str, config: PrepareConfig, output: Path, restart: bool, reporter: Reporter) -> SampleSet:
    target = output / "data" / name
    wanted = config.model_copy(update={"output": target})
    if target.exists():
        manifest = read_manifest(target, kind="samples")
        if manifest.info["request"] == wanted.request:
            reporter.note(f"data {name}: already prepared")
            return SampleSet.load(target)
        if not restart:
            raise ArtifactError(
                f"data set {target}",
                found="samples prepared with other settings",
                expected="the recipe's settings",
                hint="Choose another --output, or discard it with --restart",
            )
    reporter.note(f"data {name}: preparing {config.dataset} ({config.protocol})")
    prepare(wanted.model_copy(update={"overwrite": restart or config.overwrite}))
    return SampleSet.load(target)


def _backbone(recipe: Recipe, run: Run, reporter: Reporter) -> BackboneConfig:
    entry = recipe.backbone
    plain = BackboneConfig.model_validate(entry.model_dump(include=set(BackboneConfig.model_fields)))
    sources = entry.sources or recipe.stages[0].data
    return resolve_backbone(
        plain,
        entry.nano,
        [run.data[name] for name in sources],
        [run.data[name] for name in entry.targets],
        progress=reporter.task("pretraining nano"),
    )


def _taught(name: str, entry: TeacherEntry, data: SampleSet, output: Path, restart: bool, reporter: Reporter) -> Path:
    target, config = output / "cot" / name, entry.config
    if teaching_is_done(data, config, target):
        reporter.note(f"teacher {name}: already asked")
        return target
    reporter.note(f"teacher {name}: asking {config.teacher}")
    target.parent.mkdir(parents=True, exist_ok=True)
    teacher = make_teacher(data, config)
    statistics = teach(data, teacher, config, target, overwrite=restart, announce=reporter.note)
    reporter.note(f"teacher {name}: {statistics.kept:,} of {statistics.considered:,} source samples kept")
    return target
