"""Plug-ins are found by name: built-in modules of a package, and entry points of other packages."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.plugins import PluginGroup


@dataclass(frozen=True)
class Dish:
    text: str


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginGroup[Dish]]:
    """A group whose built-in modules lie in a package made for the test; `broken` must not be imported by others."""
    package = tmp_path / "kitchen"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "plum_cake.py").write_text("from tests_plugins import Dish\nPLUGIN = Dish('plums')\n", encoding="utf-8")
    (package / "broken.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "tests_plugins", sys.modules[__name__])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: _entries(group))
    yield PluginGroup("dishes", "dish", "kitchen", Dish)
    for name in [each for each in sys.modules if each.partition(".")[0] == "kitchen"]:
        del sys.modules[name]


def _entries(group: str) -> list[importlib.metadata.EntryPoint]:
    assert group == "recalign.dishes"
    return [
        importlib.metadata.EntryPoint("soup", "tests_plugins:SOUP", group),
        importlib.metadata.EntryPoint("plum-cake", "tests_plugins:SOUP", group),
        importlib.metadata.EntryPoint("stone", "tests_plugins:STONE", group),
        importlib.metadata.EntryPoint("gone", "no_such_module:PLUGIN", group),
    ]


SOUP = Dish("water")
STONE = 7


def test_names_are_listed_without_importing_and_built_in_ones_come_first(group: PluginGroup[Dish]) -> None:
    assert group.names() == ("broken", "plum-cake", "gone", "soup", "stone")
    assert "kitchen.plum_cake" not in sys.modules


def test_a_record_is_found_by_name_and_a_built_in_one_is_not_replaced(group: PluginGroup[Dish]) -> None:
    assert group.find("plum-cake") == Dish("plums")
    assert group.find("soup") is SOUP


def test_what_is_no_plugin_is_refused_with_the_nearest_name(group: PluginGroup[Dish]) -> None:
    with pytest.raises(ConfigError, match=r"unknown dish 'plumcake'.*Did you mean plum-cake"):
        group.find("plumcake")
    with pytest.raises(ValueError, match=r"unknown dish 'plumcake'.*Did you mean plum-cake"):
        group.validate("plumcake")
    assert group.validate("broken") == "broken", "nothing is imported"
    with pytest.raises(ConfigError, match="dish 'stone'; found int; expected a Dish record"):
        group.find("stone")


def test_a_package_that_cannot_be_imported_is_named(group: PluginGroup[Dish]) -> None:
    with pytest.raises(ConfigError, match="no_such_module:PLUGIN cannot be imported"):
        group.find("gone")
