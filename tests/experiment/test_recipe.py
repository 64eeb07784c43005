"""Recipes: all problems at once, each with its path; grids; variables of the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.experiment.recipe import load_recipe

WriteRecipe = Callable[..., Path]


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_grids_expand_in_order_and_keep_the_rest(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    stage = load_recipe(write_recipe(tmp_path, ("shots_grid = [4]", "shots_grid = [4, 8]"))).stages[-1]
    models = stage.expand()
    assert [name for name, _ in models] == [
        f"few-{shots}shot-{selection}-seed{seed}"
        for shots in (4, 8)
        for selection in ("strict-k", "paper")
        for seed in (0, 1)
    ]
    name, config = models[3]
    assert (name, config.shots, config.selection, config.seed) == ("few-4shot-paper-seed1", 4, "paper", 1)
    assert (config.batch_size, config.max_steps) == (4, 1)


def test_without_a_grid_there_is_one_model_called_like_the_stage(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    [(name, config)] = load_recipe(write_recipe(tmp_path)).stages[1].expand()
    assert (name, config.selection, config.shots) == ("zero-shot", "source", None)


def test_unknown_keys_and_wrong_values_are_told_together_with_their_paths(
    tmp_path: Path, write_recipe: WriteRecipe
) -> None:
    text = refused(
        write_recipe(
            tmp_path,
            ("optim = { lr = 1e-3 }", "optim = { lr = -1, lrr = 1e-3 }"),
            ("hidden = 32", "hidden = 32\nwidth = 3"),
            ('name = "it"\n', 'name = "it"\nlearning_rate = 3\n'),
            ("resamples = 100", "resamples = 1"),
            ('domain = "movies"', 'domain = "films"'),
        )
    )
    for place in ("stages.1.optim.lr:", "stages.1.optim.lrr:", "backbone.nano.width:", "stages.0.learning_rate:"):
        assert place in text
    assert "evaluations.0.resamples:" in text
    assert "data.source.domain:" in text


def test_names_that_do_not_exist_are_told_together(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    text = refused(
        write_recipe(
            tmp_path,
            ('parent = "it"', 'parent = "few"'),
            ('zero_shot_for = ["target"]\ninstructions', 'zero_shot_for = ["tagret"]\ninstructions'),
            ('sources = ["source"]', 'sources = ["sauce"]'),
            ('fit = "source"', 'fit = "fit"'),
            ('stages = ["zero-shot", "few"]', 'stages = ["zero", "few"]'),
            ('validation = "target"\n', ""),
        )
    )
    for problem in (
        "stage zero-shot: parent 'few' is no earlier stage",
        "stage it: unknown data set 'tagret'",
        "backbone: unknown data set 'sauce'",
        "evaluation: unknown data set 'fit'",
        "evaluation: unknown stage 'zero'",
        "stage few: selection 'paper' needs validation",
    ):
        assert problem in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "zero-shot"', 'name = "it"'), "the name is taken"),
        (('name = "zero-shot"', 'name = "../up"'), "stages.1.name"),
        (("shots_grid = [4]", "shots_grid = [0]"), "shots"),
        (('name = "small"', 'name = "a/b"'), "name"),
        (("[data.target]", '[data."../target"]'), "data set '../target'"),
        (("seeds = [0, 1]", "seeds = [0, 0]"), "the name is taken"),
        (('name = "zero-shot"', 'name = "few-4shot-paper-seed1"'), "stage few: the name is taken"),
        (('parent = "zero-shot"', 'parent = "few"'), "no earlier stage"),
    ],
)
def test_other_mistakes(tmp_path: Path, write_recipe: WriteRecipe, change: tuple[str, str], message: str) -> None:
    assert message in refused(write_recipe(tmp_path, change))


def test_a_stage_cannot_continue_a_grid(tmp_path: Path, write_recipe: WriteRecipe) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + '\n[[stages]]\nname = "more"\nparent = "few"\ndata = ["target"]\n')
    assert "stage more: parent 'few' is a grid of models" in refused(path)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nowhere.toml")
    (tmp_path / "broken.toml").write_text("name = [")
    assert "no valid TOML" in refused(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "no valid TOML" in refused(tmp_path / "binary.toml")
    assert "recipe" in refused(tmp_path)
    (tmp_path / "empty.toml").write_text("")
    assert "stages: Field required" in refused(tmp_path / "empty.toml")


def test_variables_of_the_environment(
    tmp_path: Path, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe(tmp_path, ('name = "small"', 'name = "small"\ndescription = "${RECALIGN_TEST_NAME} here"'))
    monkeypatch.delenv("RECALIGN_TEST_NAME", raising=False)
    assert "export RECALIGN_TEST_NAME=" in refused(path)
    monkeypatch.setenv("RECALIGN_TEST_NAME", "what ${HOME} is")
    assert load_recipe(path).description == "what ${HOME} is here", "values are not looked into"
