"""The parts of an experiment's file: stages, teachers, backbones, baselines, in-context learning, panels.

What an entry spans takes a value or a list of values: ``seeds = 0`` is one model, ``seeds = [0, 1]`` is two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from recalign.baselines.config import BaselineConfig
from recalign.baselines.factorisation import REFERENCES
from recalign.baselines.networks import BASELINES
from recalign.cot.config import TeachConfig
from recalign.errors import nearest
from recalign.evaluation.controls import CONTROLS
from recalign.experiment.prepare_config import PrepareConfig
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.settings import merged
from recalign.tuning.config import Selection, StageConfig

NAME: Final = r"^[a-z0-9][a-z0-9.-]*$"
_SPANNED: Final = {"kind", "shots", "selection", "seed", "seeds"}
_NEAR: Final = 0.75  # as alike are a key of an entry and a misspelt one: "seed", "shot"

Value = TypeVar("Value")
OneOrMore = Annotated[tuple[Value, ...], BeforeValidator(lambda given: given if _is_list(given) else (given,))]


def _is_list(given: object) -> bool:
    return isinstance(given, (list, tuple))


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataEntry(PrepareConfig):
    """A data set. With several `order_seeds` or with `folds` it has parts: one prepared directory for each pair."""

    order_seeds: OneOrMore[int] = Field((), description="Orders of events at the same time; `order_seed` if not given.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.order_seeds and "order_seed" in self.model_fields_set:
            raise ValueError("order_seed and order_seeds exclude each other")
        if len(set(self.order_seeds)) < len(self.order_seeds):
            raise ValueError("a value comes twice in order_seeds")
        return self

    @property
    def orders(self) -> tuple[int, ...]:
        """The order seed of each part; parts of one order seed are its folds."""
        return tuple(order for order in self.order_seeds or (self.order_seed,) for _ in range(self.folds or 1))

    def part(self, place: int) -> PrepareConfig:
        """What prepares a part; `place` counts from 0."""
        settings = {name: getattr(self, name) for name in self.model_fields_set - {"order_seeds"}}
        fold = {} if self.folds is None else {"fold": place % self.folds}
        order = {"order_seed": self.orders[place]} if self.order_seeds else {}
        return PrepareConfig.model_validate({**settings, **fold, **order})

    def part_name(self, name: str, place: int) -> str:
        """The name of a part; that of the data set `name` itself where it has one."""
        parts = [name] + ([f"order {self.orders[place]}"] if len(self.order_seeds) > 1 else [])
        return " ".join(parts + ([f"fold {place % self.folds}"] if self.folds is not None else []))


@dataclass(frozen=True)
class StagePoint:
    """One model of a stage: its name, K and rule of selection as far as they are given, and its configuration."""

    name: str
    shots: int | None
    selection: str
    config: StageConfig


class StageEntry(_Entry):
    """A stage: its place in the chain of stages, what it spans, and beside these the settings of `StageConfig`.

    There is one model for each of `backbones` × parts of the data × `shots` × `selection` × `seeds`. A model is called
    like the stage; what the stage has several of is added: ``NAME-64shot-strict-k-seed1``. A parent that has several
    seeds (or parts) is taken at the same seed (and part); a parent that has one serves all of them.
    """

    name: str = Field(pattern=NAME, description="Name of the stage and of its model.")
    label: str = Field("", description="Name of its rows; the stage's name if not given.")
    data: OneOrMore[str] = Field(min_length=1, description="Names of the training data sets; several: multi-domain.")
    parent: str | None = Field(None, description="Stage to start from; the bare backbone if not given.")
    validation: str | None = Field(None, description="Target data set, for selection 'paper'.")
    teacher: str | None = Field(None, description="Kind cot: name of the teacher whose data is learnt from.")
    zero_shot_for: tuple[str, ...] = Field((), description="Data sets whose labels must not have been seen; enforced.")
    backbones: OneOrMore[str] = Field((), description="Backbones it is tuned on; all of the file's if not given.")
    on: dict[str, dict[str, object]] = Field(
        {}, description="By name of a backbone: settings that replace these on it."
    )
    shots: OneOrMore[int] = Field((), description="Values of K; all training samples if not given.")
    selection: OneOrMore[Selection] = Field((), description="Rules of selection; that of `StageConfig` if not given.")
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="Training seeds.")
    config: StageConfig = Field(discriminator="kind", description="The other settings, of the first model.")

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, content: object) -> object:
        """Settings of `StageConfig` stand beside the entry's own keys; here they are put apart."""
        if not isinstance(content, dict):
            return content
        own = set(cls.model_fields) - {"config"}
        mine = {key for key in content if key in own or nearest(key, own, _NEAR)}
        settings = {"kind": "rec", **{key: value for key, value in content.items() if key not in mine}}
        for key, target in (("shots", "shots"), ("selection", "selection"), ("seeds", "seed")):
            given = content.get(key)
            if given is not None and given != []:
                settings[target] = given[0] if _is_list(given) else given
        return {**{key: content[key] for key in mine}, "config": settings}

    @property
    def reads(self) -> tuple[str, ...]:
        """Data sets that it is tuned on, and that for its selection."""
        return (*self.data, *((self.validation,) if self.validation else ()))

    @model_validator(mode="after")
    def _each_value_once(self) -> Self:
        axes = {name: getattr(self, name) for name in ("shots", "seeds", "selection", "backbones")}
        if twice := [name for name, values in axes.items() if len(set(values)) < len(values)]:
            raise ValueError(f"a value comes twice in {', '.join(twice)}")
        if stray := sorted({key for settings in self.on.values() for key in settings} & _SPANNED):
            raise ValueError(f"on: {', '.join(stray)} cannot differ between backbones")
        for backbone in ("", *self.on):
            list(self.points(backbone))
        return self

    def points(self, backbone: str = "") -> Iterator[StagePoint]:
        """The models of this stage on one backbone and part. Raises ValidationError where a value does not fit."""
        settings = merged(self.config.model_dump(), self.on.get(backbone, {}))
        for shots in self.shots or (None,):
            for selection in self.selection or ("",):
                for seed in self.seeds:
                    changed: dict[str, object] = {"seed": seed}
                    changed |= {"shots": shots} if shots is not None else {}
                    changed |= {"selection": selection} if selection else {}
                    parts = [self.name]
                    parts += [f"{shots}shot"] if len(self.shots) > 1 else []
                    parts += [selection] if len(self.selection) > 1 else []
                    parts += [f"seed{seed}"] if len(self.seeds) > 1 else []
                    config = type(self.config).model_validate({**settings, **changed})
                    yield StagePoint("-".join(parts), shots, selection, config)


class TeacherEntry(TeachConfig):
    """A teacher: what it is asked (`TeachConfig`), and about which data."""

    data: str = Field(description="Source data set.")

    @property
    def config(self) -> TeachConfig:
        """The plain configuration of teaching."""
        return TeachConfig.model_validate(self.model_dump(exclude={"data"}))


class BackboneEntry(BackboneConfig):
    """A backbone; with name 'nano' it is built from the experiment's own data."""

    optional: bool = Field(False, description="Used only where `--backbone` names it, and then alone.")
    nano: NanoConfig = Field(default_factory=NanoConfig, description="The embedded backbone.")
    sources: tuple[str, ...] = Field((), description="nano: data sets whose titles and unlabelled sequences are read.")
    targets: tuple[str, ...] = Field((), description="nano: data sets of which only the titles may be read.")

    @property
    def config(self) -> BackboneConfig:
        """The plain configuration of the backbone."""
        return BackboneConfig.model_validate(self.model_dump(include=set(BackboneConfig.model_fields)))


class BaselineEntry(_Entry):
    """Sequential baselines to train: one for each of `models` × parts of the data × `shots` × `seeds`."""

    models: OneOrMore[Annotated[str, AfterValidator(BASELINES.validate)]] = Field(
        min_length=1, description="Which ones."
    )
    data: OneOrMore[str] = Field(min_length=1, description="Data sets to train on, each by itself.")
    shots: OneOrMore[int] = Field((), description="Values of K; all training samples if not given.")
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="Training seeds.")
    text_encoder: str = Field("", description="Encoder of gru-bert and dros-bert; without it their rows say 'not run'.")
    settings: dict[str, object] = Field({}, description="Further settings of `BaselineConfig`.")

    @model_validator(mode="after")
    def _valid(self) -> Self:
        if axes := sorted({"model", "shots", "seed"}.intersection(self.settings)):
            raise ValueError(f"settings hold {', '.join(axes)}: use models, shots and seeds")
        for model in self.models:
            for shots in self.shots or (None,):
                self.config(model, shots, 0)
        return self

    def config(self, model: str, shots: int | None, seed: int) -> BaselineConfig:
        """The plain configuration of one baseline."""
        return BaselineConfig.model_validate({**self.settings, "model": model, "shots": shots, "seed": seed})


class InContextEntry(_Entry):
    """In-context learning with the bare backbones."""

    data: OneOrMore[str] = Field(min_length=1, description="Data sets to ask about; their train split demonstrates.")
    demonstrations: OneOrMore[int] = Field((0,), min_length=1, description="Answered samples before the question.")
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="Seeds of the choice of demonstrations.")
    backbones: OneOrMore[str] = Field((), description="Backbones; all of the file's if not given.")
    template: str = Field("", description="Prompt template; that of the data if not given.")
    label: str = Field("In-context", description="Name of its rows.")


class PanelEntry(_Entry):
    """One set of test samples, and what is scored on it: these stages, and all baselines and in-context entries of its
    data set."""

    name: str = Field(pattern=NAME, description="Name; 'movie' and 'book' are the papers' test sets.")
    title: str = Field("", description="Title for people.")
    data: str = Field(description="Data set.")
    split: str = Field("test", description="Split.")
    stages: tuple[str, ...] = Field((), description="Stages whose models are scored.")
    shots: OneOrMore[int] = Field((), description="Of stages with several values of K: these; all if not given.")
    seeds: OneOrMore[int] = Field((), description="These training seeds; all if not given.")
    labels: dict[str, str] = Field({}, description="Names of rows, by stage, instead of the stages' labels.")
    zero_shot: tuple[str, ...] = Field((), description="Stages that may have seen no label of the data; enforced.")
    fit: str | None = Field(
        None, description="Data set that the item priors may learn from; default: its own train split."
    )
    references: tuple[str, ...] = Field(
        (), description=f"Rows fitted on the data's own train labels: {', '.join(REFERENCES)}."
    )
    negatives: int = Field(0, ge=0, description="Rank each liked target among this many negatives; 0: no ranking.")
    ranked: tuple[str, ...] = Field((), description="Stages that rank the candidates; all of the panel's if not given.")
    controls: tuple[str, ...] = Field((), description=f"Controls: {', '.join(CONTROLS)}.")
    controlled: tuple[str, ...] = Field((), description="Stages under the controls; all of the panel's if not given.")
    unseen_by: tuple[str, ...] = Field(
        (), description="Score apart the targets whose titles these data sets never showed."
    )
    compare: tuple[tuple[str, str], ...] = Field((), description="Pairs of rows to test; priors and references, too.")
    resamples: int = Field(2000, ge=100, description="Bootstrap resamples of users.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := sorted(set(self.controls) - set(CONTROLS)):
            raise ValueError(f"unknown controls {', '.join(unknown)}; expected {', '.join(CONTROLS)}")
        if unknown := sorted(set(self.references) - set(REFERENCES)):
            raise ValueError(f"unknown references {', '.join(unknown)}; expected {', '.join(REFERENCES)}")
        stray = sorted({*self.ranked, *self.controlled, *self.labels, *self.zero_shot} - set(self.stages))
        if stray:
            raise ValueError(f"ranked, controlled, labels or zero_shot name no stage of it: {', '.join(stray)}")
        return self
