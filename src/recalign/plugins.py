"""Plug-ins: one record per reader, baseline, teacher, metric, template, backbone or retriever, found by name.

A built-in plug-in is one module of its group's package. The module's name is the plug-in's name (``gru_bert`` is
``gru-bert``), and the module holds the record as `PLUGIN`. Another package adds its own through an entry point of the
group ``recalign.<group>``. Its name is the plug-in's name, and its value is the record (``my_package.module:PLUGIN``).
Names are listed without importing anything; `find` imports the one module that it needs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from recalign.errors import ConfigError, did_you_mean

Record = TypeVar("Record")


@dataclass(frozen=True)
class PluginGroup(Generic[Record]):
    """All plug-ins of one kind.

    Attributes:
        name: Name of the group, plural: the entry-point group is ``recalign.<name>``.
        noun: What one plug-in is called in messages.
        package: The package whose modules are the built-in plug-ins.
        record: The class of the records.
    """

    name: str
    noun: str
    package: str
    record: type[Record]

    def names(self) -> tuple[str, ...]:
        """Names of all plug-ins: the built-in ones in alphabetical order, then those of other packages."""
        built_in = self.built_in_names()
        return (*built_in, *sorted(set(self._entry_points()) - set(built_in)))

    def built_in_names(self) -> tuple[str, ...]:
        """Names of recalign's own plug-ins, in alphabetical order."""
        return tuple(sorted(self._built_in()))

    def package_of(self, name: str) -> str:
        """The package to install for a plug-in that is there; "" for a built-in one, and where it is not known."""
        entry = None if name in self.built_in_names() else self._entry_points().get(name)
        return entry.dist.name if entry is not None and entry.dist is not None else ""

    def check(self, name: str) -> str:
        """The name itself, where there is a plug-in of that name; nothing is imported. Raises ConfigError otherwise."""
        # A built-in name wins. What is installed beside recalign is searched for the others alone, as that takes long.
        if name not in self._built_in() and name not in (known := self.names()):
            hint = did_you_mean(name, known)
            raise ConfigError(f"unknown {self.noun} {name!r}", expected=", ".join(known), hint=hint)
        return name

    def validate(self, name: str) -> str:
        """As `check`, for validators of configurations: it raises ValueError, to which pydantic adds the place."""
        try:
            return self.check(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def find(self, name: str) -> Record:
        """The record of that name.

        Raises:
            ConfigError: There is no such plug-in, it cannot be imported, or it is no record of this group.
        """
        self.check(name)
        module = self._built_in().get(name)
        found = self._load_built_in(module) if module else self._load(self._entry_points()[name])
        if not isinstance(found, self.record):
            expected = f"a {self.record.__name__} record"
            raise ConfigError(f"{self.noun} {name!r}", found=type(found).__name__, expected=expected)
        return found

    def all(self) -> Iterator[tuple[str, Record]]:
        """Every plug-in with its name, in the order of `names`. Raises ConfigError as `find` does."""
        return ((name, self.find(name)) for name in self.names())

    def _built_in(self) -> dict[str, str]:
        """Built-in names with the names of their modules. A group of other files overrides both methods."""
        paths = importlib.import_module(self.package).__path__
        return {module.name.replace("_", "-"): module.name for module in pkgutil.iter_modules(paths)}

    def _load_built_in(self, module: str) -> object:
        """The record in one of the modules of `_built_in`."""
        return importlib.import_module(f"{self.package}.{module}").PLUGIN

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {entry.name: entry for entry in importlib.metadata.entry_points(group=f"recalign.{self.name}")}

    def _load(self, entry: importlib.metadata.EntryPoint) -> object:
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            package = entry.dist.name if entry.dist else entry.value
            raise ConfigError(
                f"{self.noun} {entry.name!r} of package {package}",
                found=f"{entry.value} cannot be imported ({error})",
                hint=f"Repair or uninstall it: pip uninstall {package}",
            ) from error
