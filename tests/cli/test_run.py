"""`recalign run`: a recipe from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]

RECIPE = """
name = "small"
data.only = {{ dataset = "synthetic", users = 14, items = 40, ratings_per_user = 12, max_history = 4 }}
backbone = {{ name = "{backbone}", device = "cpu" }}
stages = [{{ name = "rt", data = ["only"], max_steps = {steps}, batch_size = 4, precision = "fp32" }}]
evaluations = [{{ data = "only", resamples = 100 }}]
"""


@pytest.fixture
def recipe(tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    monkeypatch.chdir(tmp_path)

    def write(steps: int = 1) -> Path:
        (tmp_path / "small.toml").write_text(RECIPE.format(backbone=workshop / "backbone", steps=steps))
        return tmp_path / "small.toml"

    return write


def test_a_recipe_is_tuned_once_and_anew_with_restart(cli: Cli, recipe: Callable[..., Path]) -> None:
    code, _, err = cli("run", recipe())
    assert code == 0, err
    assert "data only: preparing synthetic" in err
    code, _, err = cli("run", recipe())
    assert code == 0
    assert "stage rt: already tuned" in err
    code, out, err = cli("run", recipe(steps=2))
    assert (code, out) == (2, "")
    assert "--restart" in err.splitlines()[-1]
    assert cli("run", recipe(steps=2), "--restart")[0] == 0


def test_a_wrong_recipe_is_one_line_and_leaves_nothing(tmp_path: Path, cli: Cli, recipe: Callable[..., Path]) -> None:
    path = recipe()
    path.write_text(path.read_text().replace("max_steps", "steps").replace("resamples", "samples"))
    code, out, err = cli("run", path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "found steps: unknown key" in err
    assert "evaluations.0.samples" in err
    assert [each.name for each in tmp_path.iterdir()] == ["small.toml"]
