"""The notebooks: made from the scripts beside them, with outputs that are still those of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from .notebook import SCRIPTS, differences, executed, texts

EVERY = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def test_words_are_compared_and_numbers_nearly() -> None:
    assert differences(["AUC 0.70\n"], ["AUC 0.71\n"]) == []
    assert len(differences(["AUC 0.70\n"], ["AUC 0.80\n"])) == 1
    assert len(differences(["AUC 0.70\n"], ["GAUC 0.70\n"])) == 1
    assert len(differences(["a"], ["a", "b"])) == 1


@EVERY
def test_notebooks_are_small_and_follow_their_scripts(script: Path) -> None:
    import json

    notebook = script.with_suffix(".ipynb")
    assert notebook.stat().st_size < 400_000
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = script.read_text(encoding="utf-8")
    for cell in cells:
        for line in "".join(cell["source"]).splitlines():
            assert line in source, "make notebook"
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


@pytest.mark.docs
@pytest.mark.timeout(0)
@EVERY
def test_outputs_are_those_of_today(script: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs jupytext and nbclient: make test-docs")
    committed = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert differences(texts(committed), texts(executed(script))) == []
