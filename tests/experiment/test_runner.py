"""A recipe end to end: what it leaves, that nothing is done twice, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.errors import ArtifactError
from recalign.experiment.recipe import load_recipe
from recalign.experiment.results import RecipeResults, evaluate_recipe
from recalign.experiment.runner import Run, tune_recipe
from recalign.tuning.loop import StepReport

WriteRecipe = Callable[..., Path]
FEW = [f"few-4shot-{selection}-seed{seed}" for selection in ("strict-k", "paper") for seed in (0, 1)]


@dataclass
class Recorder:
    """A `Reporter` that remembers."""

    notes: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def task(self, name: str) -> Callable[[StepReport], None]:
        return lambda report: self.trained.append(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def done(folder: Path, write_recipe: WriteRecipe) -> Iterator[tuple[Run, RecipeResults, Recorder]]:
    """A whole run, with a cache of this module's own, so that nano is pretrained here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALIGN_CACHE", str(folder / "cache"))
        recipe, recorder = load_recipe(write_recipe(folder)), Recorder()
        run = tune_recipe(recipe, folder / "run", reporter=recorder)
        yield run, evaluate_recipe(recipe, run, folder / "run", reporter=recorder), recorder


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_run_directory(folder: Path, done: tuple[Run, RecipeResults, Recorder]) -> None:
    run, _, recorder = done
    assert {path.name for path in (folder / "run").iterdir()} == {
        "data",
        "models",
        "scores",
        "results.json",
        "results.md",
    }
    assert list(run.models) == ["it", "zero-shot", *FEW]
    assert run.grids == {"it": ["it"], "zero-shot": ["zero-shot"], "few": FEW}
    assert {path.name for path in (folder / "run" / "models").iterdir() if not path.name.endswith(".lock")} == set(
        run.models
    )
    assert all(path == folder / "run" / "models" / name for name, path in run.models.items())
    assert set(recorder.trained) == {"pretraining nano", *run.models}


def test_labels_and_parents_along_the_fold(done: tuple[Run, RecipeResults, Recorder]) -> None:
    run = done[0]
    manifests = {name: read_manifest(path) for name, path in run.models.items()}
    target = run.data["target"].fingerprint
    assert manifests["it"].config["labels_seen"] == {}
    for name in ("it", "zero-shot"):
        assert target not in manifests[name].config["labels_seen"]
        assert manifests[name].config["unseen"] == [target]
    for name in FEW:
        assert manifests[name].parents["parent"] == manifests["zero-shot"].fingerprint
        entry = manifests[name].config["labels_seen"][target]
        assert (entry["train"], entry["valid"] > 0) == (4, "paper" in name)


def test_each_evaluated_model_read_the_test_set_once(done: tuple[Run, RecipeResults, Recorder]) -> None:
    reads = {name: len(read_manifest(path).info["test_reads"]) for name, path in done[0].models.items()}
    assert reads == {"it": 0, "zero-shot": 1, **dict.fromkeys(FEW, 1)}


def test_the_same_command_again_does_nothing(
    folder: Path, write_recipe: WriteRecipe, done: tuple[Run, RecipeResults, Recorder]
) -> None:
    before = files(folder / "run")
    recipe, recorder = load_recipe(write_recipe(folder)), Recorder()
    run = tune_recipe(recipe, folder / "run", reporter=recorder)
    results = evaluate_recipe(recipe, run, folder / "run", reporter=recorder)
    assert recorder.trained == []
    assert results.markdown() == done[1].markdown()
    assert files(folder / "run") == before


def test_a_changed_stage_is_refused_and_made_anew_with_restart(
    folder: Path, tmp_path: Path, write_recipe: WriteRecipe, done: tuple[Run, RecipeResults, Recorder]
) -> None:
    # The stage "it" alone, in a run of its own: what is made of the data and the backbone is as above.
    def one(*changes: tuple[str, str]) -> Path:
        path = write_recipe(tmp_path, *changes)
        path.write_text(path.read_text().partition('[[stages]]\nname = "zero-shot"')[0])
        return path

    tune_recipe(load_recipe(one()), tmp_path / "run")
    before = files(tmp_path / "run")
    changed = load_recipe(one(("instructions = 20\nbatch_size = 4", "instructions = 21\nbatch_size = 4")))
    with pytest.raises(ArtifactError, match=r"model .*it; found .*other inputs.*--restart"):
        tune_recipe(changed, tmp_path / "run")
    assert files(tmp_path / "run") == before
    recorder = Recorder()
    run = tune_recipe(changed, tmp_path / "run", restart=True, reporter=recorder)
    assert recorder.trained == ["it", "it"]
    assert read_manifest(run.models["it"]).config["stage"]["instructions"] == 21

    data = load_recipe(one(("seed = 2\nusers = 14", "seed = 3\nusers = 14")))
    with pytest.raises(ArtifactError, match=r"data set .*target; found .*other settings.*--restart"):
        tune_recipe(data, tmp_path / "run")
    fingerprint = read_manifest(tmp_path / "run" / "data" / "target").fingerprint
    tune_recipe(data, tmp_path / "run", restart=True)
    assert read_manifest(tmp_path / "run" / "data" / "target").fingerprint != fingerprint


def test_a_stopped_run_goes_on(
    folder: Path, tmp_path: Path, write_recipe: WriteRecipe, done: tuple[Run, RecipeResults, Recorder]
) -> None:
    class Stop(Exception):
        pass

    class Stopping(Recorder):
        def task(self, name: str) -> Callable[[StepReport], None]:
            def show(report: StepReport) -> None:
                if (name, report.step) == ("zero-shot", 1):
                    raise Stop

            return show

    recipe = load_recipe(write_recipe(tmp_path))
    with pytest.raises(Stop):
        tune_recipe(recipe, tmp_path / "run", reporter=Stopping())
    recorder = Recorder()
    run = tune_recipe(recipe, tmp_path / "run", reporter=recorder)
    assert "it" not in recorder.trained
    for name, path in run.models.items():
        # Equal bytes, so the backbone (from the cache in both) and every stage are functions of the recipe alone.
        assert (
            read_manifest(path).files["adapter/recalign_adapter.json"]
            == read_manifest(done[0].models[name]).files["adapter/recalign_adapter.json"]
        )
