"""What `recalign run` leaves of an evaluation: score files, results.json, results.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import read_manifest
from recalign.experiment.recipe import Recipe, load_recipe
from recalign.experiment.results import evaluate_recipe
from recalign.experiment.runner import Run, tune_recipe
from recalign.experiment.score_file import ScoreFile


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, write_recipe: Callable[..., Path], cache: Path
) -> tuple[Recipe, Run, Path]:
    folder = tmp_path_factory.mktemp("results")
    changes = (('["strict-k", "paper"]', '["strict-k"]'), ("resamples = 100", "resamples = 100\ncandidates = 9"))
    recipe = load_recipe(write_recipe(folder, *changes))
    run = tune_recipe(recipe, folder / "run")
    evaluate_recipe(recipe, run, folder / "run")
    return recipe, run, folder / "run"


@pytest.fixture(scope="module")
def document(made: tuple[Recipe, Run, Path]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((made[2] / "results.json").read_text())
    return content


def test_every_model_and_every_prior_is_in_the_document(document: dict[str, Any]) -> None:
    assert document["recipe"] == "small"
    [evaluation] = document["evaluations"]
    assert evaluation["title"] == "target, test"
    models = [(row["model"], row["seed"]) for row in evaluation["metrics"]]
    assert [model for model, _ in models if model.startswith("prior:")] == [
        model for model, _ in models[: len(models) - 3]
    ], "priors first"
    assert models[-3:] == [("zero-shot", 0), ("few 4-shot strict-k", 0), ("few 4-shot strict-k", 1)]
    for row in evaluation["metrics"]:
        assert {"auc", "auc_ci", "gauc", "logloss", "ece", "n", "n_users", "reasons"} <= set(row)
        assert row["n"] == evaluation["metrics"][0]["n"] > 0


def test_each_model_is_compared_with_each_prior_once(document: dict[str, Any]) -> None:
    [evaluation] = document["evaluations"]
    priors = {row["model"] for row in evaluation["metrics"] if row["model"].startswith("prior:")}
    pairs = [(row["model"], row["prior"]) for row in evaluation["against_priors"]]
    assert sorted(pairs) == sorted((model, prior) for model in ("zero-shot", "few 4-shot strict-k") for prior in priors)
    by_name = {(row["model"], row["seed"]): row["auc"] for row in evaluation["metrics"]}
    priors_auc = {row["model"]: row["auc"] for row in evaluation["metrics"]}
    for row in evaluation["against_priors"]:
        mine = [auc for (model, _), auc in by_name.items() if model == row["model"]]
        assert row["difference"] == pytest.approx(sum(mine) / len(mine) - priors_auc[row["prior"]])
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]


def test_the_table_names_all(made: tuple[Recipe, Run, Path], document: dict[str, Any]) -> None:
    text = (made[2] / "results.md").read_text()
    assert text.startswith("# small\n\n## target, test\n")
    for row in document["evaluations"][0]["metrics"]:
        assert row["model"] in text


def test_ranking_stands_beside_it(made: tuple[Recipe, Run, Path], document: dict[str, Any]) -> None:
    ranking = document["evaluations"][0]["ranking"]
    models = [(row["model"], row["seed"]) for row in ranking["metrics"]]
    assert models[0] == ("prior:random", 0)
    assert models[-3:] == [("zero-shot", 0), ("few 4-shot strict-k", 0), ("few 4-shot strict-k", 1)]
    assert {row["items"] for row in ranking["metrics"]} == {10}
    assert {row["candidates"] for row in ranking["metrics"]} == {
        read_manifest(made[2] / "candidates" / "target-test-9", kind="ranking-candidates").fingerprint
    }
    names = {model for model, _ in models if model.startswith("prior:")}
    assert sorted((row["model"], row["rival"]) for row in ranking["against_rivals"]) == sorted(
        (model, rival) for model in ("zero-shot", "few 4-shot strict-k") for rival in names
    )
    text = (made[2] / "results.md").read_text()
    assert "\n### target, test: ranking\n" in text
    assert "strong rival" in text


def test_scores_of_the_same_model_are_read_back(made: tuple[Recipe, Run, Path]) -> None:
    recipe, run, output = made
    paths = sorted((output / "scores").iterdir())
    assert len(paths) == 6, "three models, per sample and per candidate"
    assert {ScoreFile.read(path).split for path in paths} == {"test"}
    before = {path: path.stat().st_mtime_ns for path in paths}
    (output / "results.json").unlink()
    evaluate_recipe(recipe, run, output)
    assert {path: path.stat().st_mtime_ns for path in sorted((output / "scores").iterdir())} == before
    per_sample, per_candidate = read_manifest(run.models["zero-shot"]).info["test_reads"]
    assert "candidates" not in per_sample
    lists = read_manifest(output / "candidates" / "target-test-9")
    assert per_candidate["candidates"] == lists.fingerprint
    assert per_candidate["n"] == 10 * lists.info["statistics"]["lists"]
    assert (output / "results.json").exists()


def test_without_candidates_there_is_no_ranking(made: tuple[Recipe, Run, Path], tmp_path: Path) -> None:
    recipe, run, _ = made
    [entry] = recipe.evaluations
    plain = entry.model_copy(update={"candidates": 0, "stages": ("zero-shot",)})
    results = evaluate_recipe(recipe.model_copy(update={"evaluations": (plain,)}), run, tmp_path)
    assert results.rankings == (None,)
    assert len(results.tables()) == 1
    assert "ranking" not in json.loads((tmp_path / "results.json").read_text())["evaluations"][0]
    assert not (tmp_path / "candidates").exists()
