"""Settings from outside: TOML files, ``--set PATH=VALUE`` options, and what is wrong with them in one line."""

from __future__ import annotations

import copy
import json
import os
import re
import textwrap
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from recalign.errors import ConfigError, did_you_mean_path, nearest

Settings = dict[str, typing.Any]  # a tree as TOML has it: tables, lists, values
Model = TypeVar("Model", bound=BaseModel)

_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)(?:(:-)([^}]*))?\}")


def validated(model: type[Model], settings: Mapping[str, object], where: str) -> Model:
    """The settings as a configuration. `where` says what they are: "options of recalign tune".

    Raises:
        ConfigError: Unknown keys or wrong values; all of them in one message.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(where, found=describe(error, model)) from None


def merged(base: Mapping[str, object], over: Mapping[str, object]) -> Settings:
    """`over` over `base`: tables joined, everything else replaced."""
    joined = dict(base)
    for key, value in over.items():
        before = base.get(key)
        joined[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return joined


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """All problems of a validation error on one line, each with its path; unknown keys with the nearest known one."""
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] not in ("value_error", "missing", "extra_forbidden"):
            message += f", found {textwrap.shorten(repr(problem['input']), 80, placeholder=' …')}"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, problem["loc"][:-1])
            near = nearest(str(problem["loc"][-1]), known)
            message = f"unknown key{f', did you mean {near}?' if near else ''}"
        lines.append(f"{place}: {message}" if place else message)
    return "; ".join(lines)


def parse_settings(settings: Iterable[str], *, into: Mapping[str, object] | None = None) -> Settings:
    """The tree of ``PATH=VALUE`` options such as ``optim.lr=3e-4``.

    A value is read as TOML (``[1, 2]``, ``true``, ``3e-4``), and as text where it is no TOML value.

    Args:
        settings: What was given, in order; a later one replaces an earlier one of the same path.
        into: A tree that they are put into; it is not changed.

    Raises:
        ConfigError: One of them is not of that form, or goes into something that is no table.
    """
    tree: Settings = copy.deepcopy(dict(into or {}))
    for setting in settings:
        path, sign, text = setting.partition("=")
        *parents, leaf = (name.strip() for name in path.split("."))
        if not sign or not all((*parents, leaf)):
            raise ConfigError("--set", found=repr(setting), expected="PATH=VALUE, for example optim.lr=3e-4")
        table = tree
        for name in parents:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                found = f"{setting!r}, but {name} is one value"
                raise ConfigError("--set", found=found, expected="a setting inside it")
        table[leaf] = _value(text)
    return tree


def read_toml(path: Path, kind: str, hint: str) -> Settings:
    """Content of a TOML file, with environment variables put in.

    In a string, ``${NAME}`` is replaced by the variable, ``${NAME:-other}`` by `other` where it is not set or empty.

    Args:
        path: The file.
        kind: What it is, for messages.
        hint: What to do where there is no such file.

    Raises:
        ConfigError: The file is missing or no TOML, or a variable is not set.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{kind} {path}", found="no such file", hint=did_you_mean_path(path) or hint) from None
    except OSError as error:
        raise ConfigError(f"{kind} {path}", found=error.strerror or str(error), expected="a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{kind} {path}", found=f"no valid TOML ({error})") from None
    return {key: _substitute(value, f"{kind} {path}") for key, value in content.items()}


@dataclass(frozen=True)
class Key:
    """A key of a configuration, as people read it: its path, its default and what it means."""

    path: str
    default: str
    meaning: str


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every key of a configuration, in order; those of one inside it have its name before theirs (``optim.lr``)."""
    for name, field in model.model_fields.items():
        inner = _models(field.annotation)
        if len(inner) == 1:
            yield from keys(inner[0], f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        shown = "(required)" if field.is_required() else "(not set)" if default is None else json.dumps(default)
        text = f"{field.description or ''}{_choices(field.annotation, field.description or '')}"
        yield Key(f"{prefix}{name}", shown, text)


def describe_keys(model: type[BaseModel], width: int = 80) -> list[str]:
    """Every key of a configuration with its default, and what it means on the lines below; no line is longer than
    `width`."""
    lines: list[str] = []
    for key in keys(model):
        lines.append(textwrap.shorten(f"{key.path} = {key.default}", width, placeholder=" …"))
        lines += textwrap.wrap(key.meaning, width, initial_indent="    ", subsequent_indent="    ")
    return lines


def _choices(annotation: object, text: str) -> str:
    """The values of a literal type, where the text does not name them all."""
    parts = [part for part in (annotation, *typing.get_args(annotation)) if typing.get_origin(part) is typing.Literal]
    values = [value for part in parts for value in typing.get_args(part)]
    unnamed = [value for value in values if str(value) not in text]
    return f" One of {', '.join(map(str, values))}." if unnamed and len(values) > 1 else ""


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _fields_at(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """Names of the fields of the configurations at a path. Places in lists and tags of unions are skipped."""
    models = [model]
    for part in path:
        fields = [model.model_fields[str(part)] for model in models if part in model.model_fields]
        models = [inner for field in fields for inner in _models(field.annotation)] or models
    return [name for model in models for name in model.model_fields]


def _models(annotation: object) -> list[type[BaseModel]]:
    """The configurations that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _substitute(value: object, where: str) -> object:
    if isinstance(value, dict):
        return {key: _substitute(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, has_default, default = match.groups()
        if has_default:
            return os.environ.get(name) or default
        if name not in os.environ:
            hint = f"Set it: export {name}=/path/to/data"
            raise ConfigError(where, found=f"${{{name}}}, which is not set", hint=hint)
        return os.environ[name]

    return _VARIABLE.sub(replace, value)
