"""An experiment: data, backbones, stages, baselines, and the panels that their models are scored on; and its file.

This is the one kind of run: a table of a paper is an experiment, and so is one model on one's own data. Without a panel
all stages are tuned and nothing is scored; with panels only what they show, and what that is made from, is run. A data
set with ``folds = k`` is k data sets (fold i tests the i-th part of its users); what is trained on it is trained k
times, and its panel pools the tests. One with ``order_seeds = [...]`` is as many data sets, too, one for each order of
events at the same time; its panel shows means over them.

The file is TOML. ``include = [FILES]`` puts other files before it: their tables are joined with its own, their lists
come first. ``extend = "NAME"`` in a data set, a backbone, a teacher, a stage or a panel starts from another one of the
same kind: tables are joined, a value or a list replaces the other's, and a name is not inherited. Environment variables
are put in as `recalign.settings.read_toml` says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recalign.errors import ConfigError
from recalign.experiment.entries import (
    NAME,
    BackboneEntry,
    BaselineEntry,
    DataEntry,
    InContextEntry,
    PanelEntry,
    StageEntry,
    TeacherEntry,
)
from recalign.experiment.published import PAPERS
from recalign.experiment.results import Figure
from recalign.settings import Settings, describe, merged, read_toml
from recalign.tuning.config import STAGES

_HINT: Final = "Shipped experiments lie in experiments/; run one with: recalign run FILE"
_NAMED: Final = ("data", "backbones", "teachers", "stages", "panels")  # what can extend another of its kind
_INNER: Final = re.compile(rf"\.config(\.({'|'.join(STAGES)}))?\b")
_SEEDED: Final = ("stages", "baselines", "in_context")


class Experiment(BaseModel):
    """Everything that one run needs: from one model to a whole table or figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="Name.")
    title: str = Field(description="What it is, in one line.")
    description: str = Field("", description="What a reader should know.")
    paper: str = Field("", description="Whose published numbers stand beside ours.")
    data: dict[str, DataEntry] = Field(min_length=1, description="Data sets by name.")
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
        if (self.stages or self.in_context) and all(entry.optional for entry in self.backbones.values()):
            problems.append("stages and in_context need a backbone: [backbones.NAME]")
        if not self.stages and not self.panels:
            problems.append("nothing to run: it has neither [[stages]] nor [[panels]]")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unknown_names(self) -> Iterator[str]:
        """References to data sets, backbones, teachers and stages that are not there, and names that are none."""
        known: dict[str, Collection[str]] = {
            "data set": self.data,
            "backbone": self.backbones,
            "teacher": self.teachers,
            "stage": [stage.name for stage in self.stages],
        }
        for kind, names in known.items():
            yield from (f"{kind} {name!r}: expected a name like {NAME}" for name in names if not re.match(NAME, name))
        for where, kind, used in self._references():
            yield from (f"{where}: unknown {kind} {name!r}" for name in used if name not in known[kind])

    def _references(self) -> Iterator[tuple[str, str, Iterable[str]]]:
        """Where something is named, of which kind it is, and the names."""
        for name, backbone in self.backbones.items():
            yield f"backbone {name}", "data set", (*backbone.sources, *backbone.targets)
        for name, teacher in self.teachers.items():
            yield f"teacher {name}", "data set", [teacher.data]
        for stage in self.stages:
            where = f"stage {stage.name}"
            yield where, "data set", (*stage.reads, *stage.zero_shot_for)
            yield where, "backbone", (*stage.backbones, *stage.on)
            if stage.config.kind == "cot":
                yield where, "teacher", [stage.teacher or ""]
        for baseline in self.baselines:
            yield "baselines", "data set", baseline.data
        for context in self.in_context:
            yield "in_context", "data set", context.data
            yield "in_context", "backbone", context.backbones
        for panel in self.panels:
            where = f"panel {panel.name}"
            yield where, "data set", (panel.data, *([panel.fit] if panel.fit else []), *panel.unseen_by)
            yield where, "stage", panel.stages

    def _stage_problems(self) -> list[str]:
        """Parents that are not there or do not fit, parts that do not go together, names that are taken."""
        problems: list[str] = []
        earlier: dict[str, StageEntry] = {}
        parts: dict[str, int] = {}
        taken: set[str] = set()
        for stage in self.stages:
            parent = earlier.get(stage.parent or "")
            wrong = [] if parent is None else self._parent_problems(stage, parent)
            if stage.parent is not None and parent is None:
                wrong.append(f"parent {stage.parent!r} is no earlier stage")
            counts = {len(self.data[name].orders) for name in stage.reads if name in self.data} - {1}
            inherited = parts.get(parent.name, 1) if parent is not None else 1
            if len(counts) > 1:
                wrong.append("data sets with different numbers of parts (folds and order seeds)")
            elif counts and inherited > 1 and inherited not in counts:
                wrong.append(f"its parent has {inherited} parts, and its data {next(iter(counts))}")
            parts[stage.name] = next(iter(counts), inherited)
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
        return tuple(name for name in entry.backbones or self.backbones if not self.backbones[name].optional)

    def on_backbones(self, names: Sequence[str]) -> Self:
        """The experiment on these of its backbones alone. Raises ConfigError where it has none of a name."""
        for name in names:
            if name not in self.backbones:
                raise ConfigError(
                    f"backbone {name!r}",
                    found="no such backbone in the experiment",
                    expected=", ".join(self.backbones),
                    hint=f"Add it to the file: [backbones.{name}]",
                )
        chosen = {name: self.backbones[name].model_copy(update={"optional": False}) for name in names}
        stages = tuple(stage.model_copy(update={"backbones": ()}) for stage in self.stages)
        contexts = tuple(context.model_copy(update={"backbones": ()}) for context in self.in_context)
        return self.model_copy(update={"backbones": chosen, "stages": stages, "in_context": contexts})


def load_experiment(path: Path, *, seeds: int | None = None, backbones: Sequence[str] = ()) -> Experiment:
    """Read and validate an experiment and what it includes.

    Args:
        path: The file.
        seeds: Keep so many of the first training seeds of every list, where it has more. Order seeds stay.
        backbones: Run everything on these of the file's backbones, and on no other; none: as the file says.

    Raises:
        ConfigError: A file is missing, no TOML, or names unknown keys or values; all problems in one message.
    """
    content = _joined(path)
    content |= {kind: _extended(content[kind], f"experiment {path}, {kind}") for kind in _NAMED if kind in content}
    if seeds is not None:
        for entry in (entry for kind in _SEEDED for entry in content.get(kind, [])):
            if isinstance(entry, dict) and isinstance(entry.get("seeds"), list):
                entry["seeds"] = entry["seeds"][:seeds]
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        # in the file, a stage's settings stand beside its other keys
        problems = _INNER.sub("", describe(error, Experiment))
        raise ConfigError(f"experiment {path}", found=problems) from None
    return experiment.on_backbones(backbones) if backbones else experiment


def settings_text(path: Path) -> str:
    """The text of an experiment's file, after that of the files it includes."""
    parts = [settings_text(file) for file in _included(path, read_toml(path, "experiment", _HINT), ())]
    return "\n".join([*parts, f"# {path.name}\n{path.read_text(encoding='utf-8')}"])


def _joined(path: Path, within: tuple[Path, ...] = ()) -> Settings:
    """The content of a file with that of the files it includes: tables joined, lists one after another."""
    content = read_toml(path, "experiment", _HINT)
    joined: Settings = {}
    for file in _included(path, content, within):
        _join(joined, _joined(file, (*within, path.resolve())), path)
    _join(joined, {key: value for key, value in content.items() if key != "include"}, path)
    return joined


def _included(path: Path, content: Settings, within: tuple[Path, ...]) -> list[Path]:
    names = content.get("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"experiment {path}", found=f"include = {names!r}", expected="a list of files")
    files = [path.parent / name for name in names]
    if round_again := [file for file in files if file.resolve() in (*within, path.resolve())]:
        raise ConfigError(f"experiment {path}", found=f"include of {round_again[0]}, which includes it")
    return files


def _join(into: Settings, content: Settings, path: Path) -> None:
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


def _extended(entries: object, where: str) -> object:
    """The entries of one kind, each with what it extends put in. What is no entry is left for the validation."""
    if isinstance(entries, dict):
        named = {name: entry for name, entry in entries.items() if isinstance(entry, dict)}
        return {**entries, **{name: _with_base(entry, named, where) for name, entry in named.items()}}
    if isinstance(entries, list):
        named = {entry.get("name"): {**entry, "name": ""} for entry in entries if isinstance(entry, dict)}
        return [_with_base(entry, named, where) if isinstance(entry, dict) else entry for entry in entries]
    return entries


def _with_base(entry: Settings, named: Mapping[object, Settings], where: str, within: tuple[str, ...] = ()) -> Settings:
    base = entry.get("extend")
    own = {key: value for key, value in entry.items() if key != "extend"}
    if base is None:
        return own
    if not isinstance(base, str) or base not in named:
        raise ConfigError(where, found=f"extend = {base!r}", expected=f"one of {', '.join(map(str, named))}")
    if base in within:
        raise ConfigError(where, found=f"extend = {base!r}, which extends it", expected="no circle")
    return merged(_with_base(named[base], named, where, (*within, base)), own)
