"""Reference pages that are made from the code: commands and their options, configuration keys, public names."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any, Final

import typer
from pydantic import BaseModel

import recalign
from recalign.cli.config import CONFIGURATIONS
from recalign.cli.main import PAGES, app
from recalign.experiment import entries
from recalign.experiment.config import Experiment
from recalign.experiment.results import Figure
from recalign.settings import Key, keys

# Table of an experiment's file: the class that declares it, and the one whose keys it takes beside its own.
TABLES: Final[dict[str, tuple[type[BaseModel], str]]] = {
    "[data.NAME]": (entries.DataEntry, "prepare"),
    "[backbones.NAME]": (entries.BackboneEntry, "backbone"),
    "[teachers.NAME]": (entries.TeacherEntry, "teach"),
    "[[stages]]": (entries.StageEntry, "rec"),
    "[[baselines]]": (entries.BaselineEntry, ""),
    "[[in_context]]": (entries.InContextEntry, ""),
    "[[panels]]": (entries.PanelEntry, ""),
    "[[figures]]": (Figure, ""),
}
# What an extension is made of: the records of plug-ins, the interfaces, and the contracts that test them.
RECORDS: Final = (
    "recalign.data.reader.Reader",
    "recalign.data.reader.RatingsReader",
    "recalign.baselines.networks.BaselinePlugin",
    "recalign.cot.teachers.TeacherPlugin",
    "recalign.evaluation.metric.Metric",
    "recalign.prompting.template.TemplatePlugin",
    "recalign.retrieval.retrievers.RetrieverPlugin",
    "recalign.tuning.backbones.BackbonePlugin",
)
INTERFACES: Final = (
    "recalign.scoring.base",
    "recalign.retrieval.base.Retriever",
    "recalign.llm.base.Teacher",
    "recalign.artifacts.find_finished",
)
CONTRACTS: Final = (
    "recalign.testing.contracts",
    "recalign.testing.data",
    "recalign.testing.tiny",
    "recalign.testing.scripted_teacher",
    "recalign.testing.scripted_scoring",
    "recalign.testing.scripted_replies.Reply",
)
METRICS: Final = tuple(
    f"recalign.metrics.{name}" for name in ("classification", "ranking", "beyond_accuracy", "significance")
)


def pages() -> dict[str, str]:
    """Markdown of each page, by its path below the documentation."""
    made = {
        "commands": commands(),
        "configuration": configuration(),
        "experiment-file": experiment_file(),
        "python": python(),
        "extending": extending(),
    }
    return {f"reference/{name}.md": "\n\n".join(parts) + "\n" for name, parts in made.items()}


def commands() -> list[str]:
    """Every command with its arguments and options, from the declarations that the command line itself is made of."""
    verbs: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    parts = [
        "# Commands and options",
        "What `recalign COMMAND --help` says. What all commands have in common is on "
        "[the command line](../command-line.md).",
        " · ".join(f"[`{verb}`](#{verb})" for verb in verbs),
    ]
    for verb, command in verbs.items():
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        words = " ".join(["recalign", verb, *(_argument(parameter) for parameter in arguments), "[OPTIONS]"])
        parts += [f"## `{verb}` {{ #{verb} }}", f"```text\n{words}\n```", _prose(command.help or "")]
        parts += [f"More: [{PAGES[verb]}](../{PAGES[verb]})."] if verb in PAGES else []
        parts += [_parameter(verb, command, parameter) for parameter in command.params if not parameter.hidden]
    return parts


def configuration() -> list[str]:
    """Every key of every configuration that `recalign config` knows."""
    parts = [
        "# Configuration keys",
        "What `recalign config NAME` says. A key is given on the command line as `--set KEY=VALUE`, in Python as a "
        "setting, and in [an experiment's file](experiment-file.md) as `KEY = VALUE`; of `prepare` every key is an "
        "option of its own.",
        " · ".join(f"[`{name}`](#{name})" for name in CONFIGURATIONS),
    ]
    for name, place in CONFIGURATIONS.items():
        module, _, attribute = place.partition(":")
        model: type[BaseModel] = getattr(importlib.import_module(module), attribute)
        parts += [f"## `{name}` {{ #{name} }}", _prose(model.__doc__ or ""), *(_key(key) for key in keys(model))]
    return parts


def experiment_file() -> list[str]:
    """Every key of the file of `recalign run`, table by table."""
    parts = [
        "# Experiment files",
        "The keys of the file that `recalign run` takes. What they do together is in [Runs](../experiments.md).",
        "## At the top",
    ]
    tables = {re.sub(r"\W|NAME", "", table) for table in TABLES}
    parts += [_key(key) for key in keys(Experiment) if key.path.partition(".")[0] not in tables]
    for table, (model, beside) in TABLES.items():
        own = [key for key in keys(model) if not beside or key.path not in _inherited(model)]
        parts += [f"## `{table}`", _prose(model.__doc__ or "")]
        parts += [f"Beside these, the keys of [`{beside}`](configuration.md#{beside})."] if beside else []
        parts += [_key(key) for key in own if not key.path.startswith("config")]
    return parts


def python() -> list[str]:
    """Every public name of the package, and what `recalign.metrics` and `recalign.errors` hold."""
    parts = [
        "# Python names",
        "Everything that `import recalign` offers. [From Python](../api.md) says what is for what.",
    ]
    for name in recalign.__all__:
        value = getattr(recalign, name)
        if not inspect.ismodule(value) and not name.startswith("__"):
            parts.append(_symbol(f"{value.__module__}.{value.__qualname__}", f"recalign.{name}"))
    parts += ["## recalign.metrics", "Functions over labels and scores.", *(_symbol(name, level=3) for name in METRICS)]
    parts += ["## recalign.errors", _symbol("recalign.errors", level=3)]
    return parts


def extending() -> list[str]:
    """Records of plug-ins, the interfaces behind them, and what tests them."""
    parts = [
        "# Extending",
        "A reader, a baseline, a teacher, a metric, a template, a retriever or a backbone is one record in one file. "
        "[Architecture](../ARCHITECTURE.md#how-to-add-your-own) says where it goes.",
    ]
    for title, names in {"Records": RECORDS, "Interfaces": INTERFACES, "Tests for yours": CONTRACTS}.items():
        parts += [f"## {title}", *(_symbol(name, level=3) for name in names)]
    return parts


def _inherited(model: type[BaseModel]) -> set[str]:
    """Paths of the keys that an entry takes over from a configuration."""
    return {
        key.path
        for base in model.__mro__[1:]
        if base not in (BaseModel, object) and issubclass(base, BaseModel)
        for key in keys(base)
    }


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper()
    return name if parameter.required else f"[{name}]"


def _parameter(verb: str, command: Any, parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names, value = f"`{_argument(parameter)}`", ""
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        value = "" if parameter.is_flag else f" {parameter.metavar or _kind(command, parameter)}"
    default = parameter.default
    shown = parameter.show_default and default not in (None, "", (), [], False)
    notes = ["required"] if parameter.required else []
    notes += ["repeatable"] if parameter.multiple else []
    notes += [f"default `{default}`"] if shown else []
    said = f" — {', '.join(notes)}" if notes else ""
    return f'<a id="{verb}-{parameter.name}"></a>{names}{_escaped(value)}{said}\n:   {_prose(parameter.help or "")}'


def _kind(command: Any, parameter: Any) -> str:
    kind = parameter.display_type(typer.Context(command))
    return re.sub(r"list\[(.*)\]", r"\1", kind.strip("<>")).upper()


def _key(key: Key) -> str:
    return f"`{key.path}` = `{key.default}`\n:   {_prose(key.meaning) or '—'}"


def _symbol(name: str, shown: str = "", level: int = 2) -> str:
    lines = [f"::: {name}", "    options:", f"      heading_level: {level}"]
    lines += [f"      heading: {shown}", f"      toc_label: {shown}"] if shown else []
    return "\n".join(lines)


def _prose(text: str) -> str:
    """Text of a docstring or an option: double backticks are single ones here, and it is no markup otherwise."""
    text = re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(text), flags=re.DOTALL)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([<*_\[\]])", r"\\\1", text).replace("\\<", "&lt;")
