"""The one configuration tree: a recipe, as TOML.

A recipe names its data, its backbone, a list of stages and what to evaluate. Leaf configurations live beside their
consumers (`PrepareConfig`, `BackboneConfig`, `NanoConfig`, `StageConfig`); this module only puts them together.
Unknown keys are refused, and all errors are reported at once, each with its path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from recalign.cot.config import TeachConfig
from recalign.errors import ConfigError
from recalign.experiment.prepare_config import PrepareConfig
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.settings import read_toml, validated
from recalign.tuning.config import RecStage, Selection, StageConfig, stage_config

NAME = r"^[a-z0-9][a-z0-9.-]*$"


class StageEntry(BaseModel):
    """A stage of a recipe: its place in the chain, the grid it spans, and the keys of its configuration.

    The keys that are not declared here are those of `recalign.tuning.config`, for the stage's kind.
    `shots_grid` × `seeds` × `selections` gives one model each, named ``NAME-64shot-strict-k-seed1``; without a grid
    there is one model, called like the stage.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(pattern=NAME, description="Name of the stage and of its model.")
    data: tuple[str, ...] = Field(min_length=1, description="Names of the training data sets; several: multi-domain.")
    parent: str | None = Field(None, description="Stage to start from; the bare backbone if not given.")
    validation: str | None = Field(None, description="Target data set, for selection 'paper'.")
    teacher: str | None = Field(None, description="Kind cot: name of the teacher whose data is learnt from.")
    zero_shot_for: tuple[str, ...] = Field((), description="Data sets whose labels must not have been seen; enforced.")
    shots_grid: tuple[int, ...] = Field((), description="Values of shots.")
    seeds: tuple[int, ...] = Field((), description="Values of seed.")
    selections: tuple[Selection, ...] = Field((), description="Values of selection.")

    @property
    def config(self) -> StageConfig:
        """The configuration of the stage, at no point of its grid. Raises ConfigError."""
        return self._at({})

    @model_validator(mode="after")
    def _configured(self) -> Self:
        try:
            self._at({})
        except ConfigError as error:
            raise PydanticCustomError("stage", "{problem}", {"problem": str(error)}) from None
        return self

    def expand(self) -> list[tuple[str, StageConfig]]:
        """The models of this stage: names and plain stage configurations. Raises ConfigError."""
        base, models = self.config, []
        selection = base.selection if isinstance(base, RecStage) else None
        shots_axis = self.shots_grid or (base.shots if isinstance(base, RecStage) else None,)
        for shots in shots_axis:
            for selected in self.selections or (selection,):
                for seed in self.seeds or (base.seed,):
                    name = self.name
                    name += f"-{shots}shot" if self.shots_grid else ""
                    name += f"-{selected}" if self.selections else ""
                    name += f"-seed{seed}" if self.seeds else ""
                    point = {"shots": shots, "selection": selected, "seed": seed}
                    models.append((name, self._at({key: value for key, value in point.items() if value is not None})))
        return models

    def _at(self, point: dict[str, Any]) -> StageConfig:
        return stage_config({**(self.model_extra or {}), **point}, f"stage {self.name}")


class TeacherEntry(TeachConfig):
    """A teacher of a recipe: what it is asked (`TeachConfig`), and about which data."""

    data: str = Field(description="Source data set.")

    @property
    def config(self) -> TeachConfig:
        """The plain configuration of teaching."""
        return TeachConfig.model_validate(self.model_dump(exclude={"data"}))


class EvaluationEntry(BaseModel):
    """What is scored on which data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(description="Data set to score.")
    split: str = Field("test", description="Split to score.")
    stages: tuple[str, ...] = Field((), description="Stages whose models are scored; all of them if not given.")
    fit: str | None = Field(None, description="Data set that the item priors may learn from; none: no item priors.")
    candidates: int = Field(0, ge=0, description="Rank each liked target among this many negatives; 0: no ranking.")
    resamples: int = Field(2000, ge=100, description="Bootstrap resamples of users.")


class BackboneEntry(BackboneConfig):
    """The backbone of a recipe; with name 'nano' it is built from the recipe's own data."""

    nano: NanoConfig = Field(default_factory=NanoConfig, description="The embedded backbone.")
    sources: tuple[str, ...] = Field((), description="nano: data sets whose titles and unlabelled sequences are read.")
    targets: tuple[str, ...] = Field((), description="nano: data sets of which only the titles may be read.")


class Recipe(BaseModel):
    """A whole run: data → backbone → stages → evaluations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="Name of the recipe.")
    description: str = Field("", description="One line for people.")
    data: dict[str, PrepareConfig] = Field(min_length=1, description="Data sets by name.")
    backbone: BackboneEntry = Field(default_factory=lambda: BackboneEntry(name="nano"), description="The backbone.")
    teachers: dict[str, TeacherEntry] = Field({}, description="Teachers by name, for stages of kind cot.")
    stages: tuple[StageEntry, ...] = Field(min_length=1, description="Stages, in the order of the chain.")
    evaluations: tuple[EvaluationEntry, ...] = Field((), description="Evaluations, after all stages.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            f"{kind} {name!r}: expected a name like {NAME}"
            for kind, names in (("data set", self.data), ("teacher", self.teachers))
            for name in names
            if not re.match(NAME, name)
        ]
        problems += [
            f"teacher {name}: unknown data set {entry.data!r}"
            for name, entry in self.teachers.items()
            if entry.data not in self.data
        ]
        problems += self._stage_problems()
        stages = {stage.name for stage in self.stages}
        for evaluation in self.evaluations:
            wanted = [evaluation.data, *([evaluation.fit] if evaluation.fit else [])]
            problems += [f"evaluation: unknown data set {name!r}" for name in wanted if name not in self.data]
            problems += [f"evaluation: unknown stage {name!r}" for name in evaluation.stages if name not in stages]
        wanted = [*self.backbone.sources, *self.backbone.targets]
        problems += [f"backbone: unknown data set {name!r}" for name in wanted if name not in self.data]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _stage_problems(self) -> list[str]:
        problems: list[str] = []
        models: dict[str, list[str]] = {}
        for stage in self.stages:
            expanded: list[tuple[str, StageConfig]] = []
            wanted = [*stage.data, *stage.zero_shot_for, *([stage.validation] if stage.validation else [])]
            found = [f"unknown data set {name!r}" for name in wanted if name not in self.data]
            try:
                expanded = stage.expand()
            except ConfigError as error:
                found.append(f"its grid: {error}")
            if stage.config.kind == "cot" and stage.teacher not in self.teachers:
                found.append(
                    f"teacher {stage.teacher!r} is not among the recipe's: {', '.join(self.teachers) or 'none'}"
                )
            if stage.parent is not None and stage.parent not in models:
                found.append(f"parent {stage.parent!r} is no earlier stage")
            elif stage.parent is not None and models[stage.parent] != [stage.parent]:
                found.append(f"parent {stage.parent!r} is a grid of models, expected a single one")
            chosen = {config.selection for _, config in expanded if isinstance(config, RecStage)}
            if "paper" in chosen and stage.validation is None:
                found.append("selection 'paper' needs validation = '<target data set>'")
            names = [name for name, _ in expanded]
            taken = {name for others in models.values() for name in others} | set(models)
            if stage.name in models or taken.intersection(names) or len(set(names)) < len(names):
                found.append("the name is taken")
            models[stage.name] = names
            problems += [f"stage {stage.name}: {problem}" for problem in found]
        return problems


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; environment variables are replaced as `read_toml` says.

    Raises:
        ConfigError: The file is missing, no TOML, or names unknown keys or values; all problems in one message.
    """
    return validated(Recipe, read_toml(path, "recipe", "Shipped recipes lie in recipes/"), f"recipe {path}")
