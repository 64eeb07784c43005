"""The figures of docs/results.md: drawn from results.json, in light and dark, with their numbers in words."""

from __future__ import annotations

import importlib.util
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recalign.evaluation.cells import fixed
from recalign.experiment.results import Results
from recalign.report.canvas import DARK, LIGHT

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    """The script docs/site/figures.py."""
    spec = importlib.util.spec_from_file_location("docs_figures", ROOT / "docs" / "site" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up the module of their annotations
    spec.loader.exec_module(module)
    return module


def test_a_figure_follows_the_results(document: dict[str, Any], figures: ModuleType, tmp_path: Path) -> None:
    panel = {**document["panels"][0], "name": "movie-loo"}
    made = {**document, "name": "next-item", "panels": [panel], "figures": []}
    (tmp_path / "results.json").write_text(json.dumps(made), encoding="utf-8")
    (file,) = figures.write([tmp_path], tmp_path / "images")
    assert file.name == "next-item-leave-one-out.svg", "no other panel of these is there"
    text = file.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    words = {element.tag.rpartition("}")[2]: element.text or "" for element in root[:2]}
    for row in Results.read(tmp_path).panels[0].plain_rows:
        if row.mean("auc") is not None:
            assert fixed(row.mean("auc"), 4) in words["desc"]
    assert "prefers-color-scheme: dark" in text
    assert LIGHT["ink"] in text
    assert DARK["ink"] in text
    again = figures.write([tmp_path], tmp_path / "again")[0].read_text(encoding="utf-8")
    assert text == again


def test_every_figure_of_the_page_is_there(figures: ModuleType) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for wanted in figures.FIGURES:
        assert f"(images/{wanted.file}.svg)" in page
        text = (ROOT / "docs" / "images" / f"{wanted.file}.svg").read_text(encoding="utf-8")
        best = ElementTree.fromstring(text)[1].text or ""
        assert best.partition(";")[0].rpartition(" ")[2].rstrip("0") in page, "its numbers are those of the tables"
