"""An experiment as TOML: data, backbones, stages, baselines, and the panels that their models are scored on.

It is written like a recipe (`recalign.experiment.recipe`), with axes: every stage spans backbones × folds × shots ×
selections × seeds, every entry of baselines models × folds × shots × seeds. A data set with ``folds = k`` is k data
sets (fold i tests the i-th part of its users); what is trained on it is trained k times, and its panel pools the tests.
Only what a panel shows, and what that is made from, is run. ``include = [FILES]`` puts other files before this one:
their tables are joined with its own, their lists come first.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recalign.baselines.config import BaselineConfig, BaselineName
from recalign.errors import ConfigError
from recalign.experiment.controls import CONTROLS
from recalign.experiment.prepare_config import PrepareConfig
from recalign.experiment.published import PAPERS
from recalign.experiment.recipe import NAME, BackboneEntry, StageEntry, TeacherEntry
from recalign.experiment.study import Figure
from recalign.settings import describe, read_toml, validated

_HINT = "Shipped experiments lie in experiments/"


class ExperimentStage(StageEntry):
    """A stage and the axes it spans. A parent with seeds (or folds) is taken at the same seed (and fold)."""

    label: str = Field("", description="Name of its rows; the stage's name if not given.")
    backbones: tuple[str, ...] = Field(
        (), description="Backbones it is tuned on; all of the experiment's if not given."
    )

    @model_validator(mode="after")
    def _each_value_once(self) -> Self:
        axes = {name: getattr(self, name) for name in ("shots_grid", "seeds", "selections", "backbones")}
        if twice := [name for name, values in axes.items() if len(set(values)) < len(values)]:
            raise ValueError(f"a value comes twice in {', '.join(twice)}")
        return self


class BaselineEntry(BaseModel):
    """Sequential baselines to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[BaselineName, ...] = Field(min_length=1, description="Which ones.")
    data: str = Field(description="Data set to train on.")
    shots_grid: tuple[int, ...] = Field((), description="Values of K; all training samples if not given.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Training seeds.")
    text_encoder: str = Field("", description="Encoder of gru-bert and dros-bert; without it their rows say 'not run'.")
    settings: dict[str, Any] = Field({}, description="Further settings of `BaselineConfig`.")

    @model_validator(mode="after")
    def _valid(self) -> Self:
        if axes := sorted({"model", "shots", "seed"}.intersection(self.settings)):
            raise ValueError(f"settings hold {', '.join(axes)}: use models, shots_grid and seeds")
        for shots in self.shots_grid or (None,):
            self.config(self.models[0], shots, 0)
        return self

    def config(self, model: BaselineName, shots: int | None, seed: int) -> BaselineConfig:
        """The plain configuration of one point of the grid."""
        return BaselineConfig.model_validate({**self.settings, "model": model, "shots": shots, "seed": seed})


class InContextEntry(BaseModel):
    """In-context learning with the bare backbones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(description="Data set whose questions are asked, and whose train split demonstrates.")
    demonstrations: tuple[int, ...] = Field((0,), min_length=1, description="Answered samples before the question.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Seeds of the choice of demonstrations.")
    backbones: tuple[str, ...] = Field((), description="Backbones; all of the experiment's if not given.")
    label: str = Field("In-context", description="Name of its rows.")


class PanelEntry(BaseModel):
    """One set of test samples, and what is scored on it: these stages, and all baselines and in-context entries of its
    data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="Name; 'movie' and 'book' are the papers' test sets.")
    title: str = Field("", description="Title for people.")
    data: str = Field(description="Data set.")
    split: str = Field("test", description="Split.")
    stages: tuple[str, ...] = Field((), description="Stages whose models are scored.")
    shots: tuple[int, ...] = Field((), description="Of stages with a grid of shots: these values; all if not given.")
    seeds: tuple[int, ...] = Field((), description="These training seeds; all if not given.")
    labels: dict[str, str] = Field({}, description="Names of rows, by stage, instead of the stages' labels.")
    zero_shot: tuple[str, ...] = Field((), description="Stages that may have seen no label of the data; enforced.")
    fit: str | None = Field(
        None, description="Data set that the item priors may learn from; default: its own train split."
    )
    candidates: int = Field(0, ge=0, description="Rank each liked target among this many negatives; 0: no ranking.")
    ranked: tuple[str, ...] = Field((), description="Stages that rank the candidates; all of the panel's if not given.")
    controls: tuple[str, ...] = Field((), description=f"Controls: {', '.join(CONTROLS)}.")
    controlled: tuple[str, ...] = Field((), description="Stages under the controls; all of the panel's if not given.")
    unseen_by: tuple[str, ...] = Field(
        (), description="Score apart the targets whose titles these data sets never showed."
    )
    compare: tuple[tuple[str, str], ...] = Field((), description="Pairs of rows to test; priors, too.")
    resamples: int = Field(2000, ge=100, description="Bootstrap resamples of users.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := sorted(set(self.controls) - set(CONTROLS)):
            raise ValueError(f"unknown controls {', '.join(unknown)}; expected {', '.join(CONTROLS)}")
        stray = sorted({*self.ranked, *self.controlled, *self.labels, *self.zero_shot} - set(self.stages))
        if stray:
            raise ValueError(f"ranked, controlled, labels or zero_shot name no stage of it: {', '.join(stray)}")
        return self


class Experiment(BaseModel):
    """Everything that one table or figure needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="Name.")
    title: str = Field(description="What it is, in one line.")
    description: str = Field("", description="What a reader should know.")
    paper: str = Field("", description="Whose published numbers stand beside ours.")
    data: dict[str, PrepareConfig] = Field(min_length=1, description="Data sets by name.")
    backbones: dict[str, BackboneEntry] = Field({}, description="Backbones by name.")
    teachers: dict[str, TeacherEntry] = Field({}, description="Teachers by name, for stages of kind cot.")
    stages: tuple[ExperimentStage, ...] = Field((), description="Stages; a parent comes before its children.")
    baselines: tuple[BaselineEntry, ...] = Field((), description="Sequential baselines.")
    in_context: tuple[InContextEntry, ...] = Field((), description="In-context learning.")
    panels: tuple[PanelEntry, ...] = Field(min_length=1, description="What is scored on what.")
    figures: tuple[Figure, ...] = Field((), description="What the report draws.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._unknown_names(), *self._stage_problems()]
        if self.paper not in PAPERS:
            problems.append(f"paper {self.paper!r}: expected {', '.join(PAPERS[1:])}, or none")
        names = [panel.name for panel in self.panels]
        problems += [f"panel {name}: the name is taken" for name in {each for each in names if names.count(each) > 1}]
        problems += [
            f"figure {each.title!r}: unknown panel {each.panel!r}" for each in self.figures if each.panel not in names
        ]
        if (self.stages or self.in_context) and not self.backbones:
            problems.append("stages and in_context need a backbone: [backbones.NAME]")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unknown_names(self) -> list[str]:
        """References to data sets, backbones, teachers and stages that are not there."""
        stages = {stage.name for stage in self.stages}
        data, backbones = set(self.data), set(self.backbones)
        misnamed = [name for name in (*self.data, *self.backbones, *self.teachers) if not re.match(NAME, name)]
        wanted: list[tuple[str, str, tuple[str, ...], set[str]]] = [("names", "kind of name", tuple(misnamed), set())]
        wanted += [
            (f"backbone {key}", "data set", (*it.sources, *it.targets), data) for key, it in self.backbones.items()
        ]
        wanted += [(f"teacher {key}", "data set", (it.data,), data) for key, it in self.teachers.items()]
        for stage in self.stages:
            used = (*stage.data, *stage.zero_shot_for, *((stage.validation,) if stage.validation else ()))
            wanted.append((f"stage {stage.name}", "data set", used, data))
            wanted.append((f"stage {stage.name}", "backbone", stage.backbones, backbones))
            if stage.kind == "cot":
                wanted.append((f"stage {stage.name}", "teacher", (stage.teacher or "",), set(self.teachers)))
        wanted += [("baselines", "data set", (each.data,), data) for each in self.baselines]
        for context in self.in_context:
            wanted.append(("in_context", "data set", (context.data,), data))
            wanted.append(("in_context", "backbone", context.backbones, backbones))
        for panel in self.panels:
            used = (panel.data, *((panel.fit,) if panel.fit else ()), *panel.unseen_by)
            wanted.append((f"panel {panel.name}", "data set", used, data))
            wanted.append((f"panel {panel.name}", "stage", panel.stages, stages))
        return [
            f"{where}: unknown {kind} {name!r}"
            for where, kind, names, known in wanted
            for name in names
            if name not in known
        ]

    def _stage_problems(self) -> list[str]:
        """Parents that are not there or do not fit, folds that do not go together, grids that are no stages."""
        problems: list[str] = []
        earlier: dict[str, ExperimentStage] = {}
        folds: dict[str, int | None] = {}
        for stage in self.stages:
            where = f"stage {stage.name}"
            parent = earlier.get(stage.parent or "")
            if stage.parent is not None and parent is None:
                problems.append(f"{where}: parent {stage.parent!r} is no earlier stage")
            if parent is not None:
                if parent.shots_grid or parent.selections:
                    problems.append(
                        f"{where}: parent {parent.name!r} spans shots or selections, expected one model a seed"
                    )
                if missing := set(stage.seeds or (stage.seed,)) - set(parent.seeds or stage.seeds or (stage.seed,)):
                    problems.append(f"{where}: its parent has no seed {', '.join(map(str, sorted(missing)))}")
                if absent := set(self.backbones_of(stage)) - set(self.backbones_of(parent)):
                    problems.append(f"{where}: its parent has no backbone {', '.join(sorted(absent))}")
            used = (*stage.data, *((stage.validation,) if stage.validation else ()))
            counts = {self.data[name].folds for name in used if name in self.data} - {None}
            inherited = folds.get(parent.name) if parent is not None else None
            if len(counts) > 1:
                problems.append(f"{where}: data sets with different numbers of folds")
            elif counts and inherited and inherited not in counts:
                problems.append(f"{where}: its parent has {inherited} folds, and its data {next(iter(counts))}")
            folds[stage.name] = next(iter(counts), inherited)
            if "paper" in (stage.selection, *stage.selections) and stage.validation is None:
                problems.append(f"{where}: selection 'paper' needs validation = '<target data set>'")
            if stage.name in earlier:
                problems.append(f"{where}: the name is taken")
            try:
                stage.expand()
            except ValidationError as error:
                problems.append(f"{where}: its grid: {describe(error, ExperimentStage)}")
            earlier[stage.name] = stage
        return problems

    def backbones_of(self, entry: ExperimentStage | InContextEntry) -> tuple[str, ...]:
        """Names of the backbones that an entry spans."""
        return entry.backbones or tuple(self.backbones)

    def folds_of(self, name: str) -> int | None:
        """How many folds a data set has; None where it has none."""
        return self.data[name].folds


def load_experiment(path: Path, *, seeds: int | None = None) -> Experiment:
    """Read and validate an experiment and what it includes, with environment variables replaced as in a recipe.

    Args:
        path: The file.
        seeds: Keep so many of the first seeds of every list, where it has more.

    Raises:
        ConfigError: A file is missing, no TOML, or names unknown keys or values; all problems in one message.
    """
    content = _joined(path)
    if seeds is not None:
        for entry in (each for kind in ("stages", "baselines", "in_context") for each in content.get(kind, [])):
            if isinstance(entry, dict) and isinstance(entry.get("seeds"), list):
                entry["seeds"] = entry["seeds"][:seeds]
    return validated(Experiment, content, f"experiment {path}")


def settings_text(path: Path) -> str:
    """The text of an experiment's file, behind that of the files it includes."""
    parts = [settings_text(each) for each in _included(path, read_toml(path, "experiment", _HINT), ())]
    return "\n".join([*parts, f"# {path.name}\n{path.read_text(encoding='utf-8')}"])


def _joined(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a file with that of the files it includes: tables joined, lists one after another."""
    content = read_toml(path, "experiment", _HINT)
    joined: dict[str, Any] = {}
    for each in _included(path, content, within):
        _join(joined, _joined(each, (*within, path.resolve())), path)
    _join(joined, {key: value for key, value in content.items() if key != "include"}, path)
    return joined


def _included(path: Path, content: dict[str, Any], within: tuple[Path, ...]) -> list[Path]:
    names = content.get("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"experiment {path}", found=f"include = {names!r}", expected="a list of files")
    files = [path.parent / name for name in names]
    if round_again := [each for each in files if each.resolve() in (*within, path.resolve())]:
        raise ConfigError(f"experiment {path}", found=f"include of {round_again[0]}, which includes it")
    return files


def _join(into: dict[str, Any], content: dict[str, Any], path: Path) -> None:
    for key, value in content.items():
        before = into.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if twice := sorted(set(before) & set(value)):
                raise ConfigError(f"experiment {path}", found=f"{key}.{twice[0]} in two files", expected="in one")
            before.update(value)
        elif isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        elif key in into:
            raise ConfigError(f"experiment {path}", found=f"{key} in two files", expected="in one")
        else:
            into[key] = value
