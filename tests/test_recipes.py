"""Every shipped recipe is valid, whatever folder the data are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.experiment.recipe import load_recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"quickstart", "movielens"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_its_models_have_different_names(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALIGN_DATA", str(tmp_path))
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description
    names = [name for stage in recipe.stages for name, _ in stage.expand()]
    assert len(set(names)) == len(names)
    assert recipe.evaluations, "a recipe ends with results"
