"""An experiment: data, backbones, stages, baselines, and the panels that their models are scored on.

This is the one kind of run: a table of a paper is an experiment, and so is one model on one's own data. Without a panel
all stages are tuned and nothing is scored; with panels only what they show, and what that is made from, is run. A data
set with ``folds = k`` is k data sets (fold i tests the i-th part of its users); what is trained on it is trained k
times, and its panel pools the tests. `recalign.experiment.files` reads the file.
"""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recalign.experiment.entries import (
    NAME,
    BackboneEntry,
    BaselineEntry,
    InContextEntry,
    PanelEntry,
    StageEntry,
    TeacherEntry,
)
from recalign.experiment.prepare_config import PrepareConfig
from recalign.experiment.published import PAPERS
from recalign.experiment.results import Figure


class Experiment(BaseModel):
    """Everything that one run needs: from one model to a whole table or figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="Name.")
    title: str = Field(description="What it is, in one line.")
    description: str = Field("", description="What a reader should know.")
    paper: str = Field("", description="Whose published numbers stand beside ours.")
    data: dict[str, PrepareConfig] = Field(min_length=1, description="Data sets by name.")
    backbones: dict[str, BackboneEntry] = Field({}, description="Backbones by name.")
    teachers: dict[str, TeacherEntry] = Field({}, description="Teachers by name, for stages of kind cot.")
    stages: tuple[StageEntry, ...] = Field((), description="Stages; a parent comes before its children.")
    baselines: tuple[BaselineEntry, ...] = Field((), description="Sequential baselines.")
    in_context: tuple[InContextEntry, ...] = Field((), description="In-context learning.")
    panels: tuple[PanelEntry, ...] = Field((), description="What is scored on what; none: all stages are tuned.")
    figures: tuple[Figure, ...] = Field((), description="What the report draws.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._unknown_names(), *self._stage_problems()]
        if self.paper not in PAPERS:
            problems.append(f"paper {self.paper!r}: expected {', '.join(PAPERS[1:])}, or none")
        names = [panel.name for panel in self.panels]
        problems += [f"panel {name}: the name is taken" for name in {name for name in names if names.count(name) > 1}]
        problems += [
            f"figure {figure.title!r}: unknown panel {figure.panel!r}"
            for figure in self.figures
            if figure.panel not in names
        ]
        if (self.stages or self.in_context) and not self.backbones:
            problems.append("stages and in_context need a backbone: [backbones.NAME]")
        if not self.stages and not self.panels:
            problems.append("nothing to run: it has neither [[stages]] nor [[panels]]")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unknown_names(self) -> list[str]:
        """References to data sets, backbones, teachers and stages that are not there."""
        known = {
            "data set": set(self.data),
            "backbone": set(self.backbones),
            "teacher": set(self.teachers),
            "stage": {stage.name for stage in self.stages},
        }
        named = [
            (kind, name)
            for kind, entries in (("data set", self.data), ("backbone", self.backbones), ("teacher", self.teachers))
            for name in entries
        ]
        return [f"{kind} {name!r}: expected a name like {NAME}" for kind, name in named if not re.match(NAME, name)] + [
            f"{where}: unknown {kind} {name!r}"
            for where, kind, names in self._references()
            for name in names
            if name not in known[kind]
        ]

    def _references(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Where something is named, of which kind it is, and the names."""
        references = [
            (f"backbone {key}", "data set", (*entry.sources, *entry.targets)) for key, entry in self.backbones.items()
        ]
        references += [(f"teacher {key}", "data set", (entry.data,)) for key, entry in self.teachers.items()]
        for stage in self.stages:
            where = f"stage {stage.name}"
            used = (*stage.data, *stage.zero_shot_for, *((stage.validation,) if stage.validation else ()))
            references += [(where, "data set", used), (where, "backbone", stage.backbones)]
            if stage.config.kind == "cot":
                references.append((where, "teacher", (stage.teacher or "",)))
        references += [("baselines", "data set", baseline.data) for baseline in self.baselines]
        for context in self.in_context:
            references += [("in_context", "data set", context.data), ("in_context", "backbone", context.backbones)]
        for panel in self.panels:
            where = f"panel {panel.name}"
            used = (panel.data, *((panel.fit,) if panel.fit else ()), *panel.unseen_by)
            references += [(where, "data set", used), (where, "stage", panel.stages)]
        return references

    def _stage_problems(self) -> list[str]:
        """Parents that are not there or do not fit, folds that do not go together, names that are taken."""
        problems: list[str] = []
        earlier: dict[str, StageEntry] = {}
        folds: dict[str, int | None] = {}
        taken: set[str] = set()
        for stage in self.stages:
            parent = earlier.get(stage.parent or "")
            wrong = [] if parent is None else self._parent_problems(stage, parent)
            if stage.parent is not None and parent is None:
                wrong.append(f"parent {stage.parent!r} is no earlier stage")
            used = (*stage.data, *((stage.validation,) if stage.validation else ()))
            counts = {self.data[name].folds for name in used if name in self.data} - {None}
            inherited = folds.get(parent.name) if parent is not None else None
            if len(counts) > 1:
                wrong.append("data sets with different numbers of folds")
            elif counts and inherited and inherited not in counts:
                wrong.append(f"its parent has {inherited} folds, and its data {next(iter(counts))}")
            folds[stage.name] = next(iter(counts), inherited)
            if "paper" in stage.selection and stage.validation is None:
                wrong.append("selection 'paper' needs validation = '<target data set>'")
            names = {stage.name, *(point.name for point in stage.points())}
            if taken & names:
                wrong.append("the name is taken")
            taken |= names
            earlier[stage.name] = stage
            problems += [f"stage {stage.name}: {problem}" for problem in wrong]
        return problems

    def _parent_problems(self, stage: StageEntry, parent: StageEntry) -> list[str]:
        wrong = []
        if len(parent.shots) > 1 or len(parent.selection) > 1:
            wrong.append(f"parent {parent.name!r} spans shots or selections, expected one model a seed")
        if len(parent.seeds) > 1 and (missing := set(stage.seeds) - set(parent.seeds)):
            wrong.append(f"its parent has no seed {', '.join(map(str, sorted(missing)))}")
        if absent := set(self.backbones_of(stage)) - set(self.backbones_of(parent)):
            wrong.append(f"its parent has no backbone {', '.join(sorted(absent))}")
        return wrong

    def backbones_of(self, entry: StageEntry | InContextEntry) -> tuple[str, ...]:
        """Names of the backbones that an entry spans."""
        return entry.backbones or tuple(self.backbones)

    def folds_of(self, name: str) -> int | None:
        """How many folds a data set has; None where it has none."""
        return self.data[name].folds
