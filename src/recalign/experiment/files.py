"""The file of an experiment: TOML in, a validated `Experiment` out.

``include = [FILES]`` puts other files before this one: their tables are joined with its own, their lists come first.
``extend = "NAME"`` in a data set, a backbone, a teacher, a stage or a panel starts from another one of the same kind:
tables are joined, a value or a list replaces the other's, and a name is not inherited. Environment variables are put
in as `recalign.settings.read_toml` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from recalign.errors import ConfigError
from recalign.experiment.config import Experiment
from recalign.settings import Settings, describe, read_toml
from recalign.tuning.config import STAGES

_HINT: Final = "Shipped experiments lie in experiments/"
_NAMED: Final = ("data", "backbones", "teachers", "stages", "panels")  # what can extend another of its kind
_INNER: Final = re.compile(rf"\.config(\.({'|'.join(STAGES)}))?\b")
_SEEDED: Final = ("stages", "baselines", "in_context")


def load_experiment(path: Path, *, seeds: int | None = None) -> Experiment:
    """Read and validate an experiment and what it includes.

    Args:
        path: The file.
        seeds: Keep so many of the first seeds of every list, where it has more.

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
        return Experiment.model_validate(content)
    except ValidationError as error:
        # in the file, a stage's settings stand beside its other keys
        problems = _INNER.sub("", describe(error, Experiment))
        raise ConfigError(f"experiment {path}", found=problems) from None


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
    return _merged(_with_base(named[base], named, where, (*within, base)), own)


def _merged(base: Settings, own: Settings) -> Settings:
    """`own` over `base`: tables joined, everything else replaced."""
    merged = dict(base)
    for key, value in own.items():
        before = base.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
