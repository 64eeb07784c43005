"""A chain of stages and K shots on top, end to end: what the run leaves, and that nothing is done twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import read_manifest
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.evaluation.score_file import ScoreFile
from recalign.experiment.run import run_experiment
from recalign.experiment.store import Job, PrepareWork, TuneWork
from recalign.tuning.model_artifact import load_scorer

Done = Any  # of conftest
Recorder = Any
Stage = Any

FEW = [f"few-{selection}-seed{seed}" for selection in ("strict-k", "paper") for seed in (0, 1)]


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def tuned(done: Done) -> dict[str, Job]:
    return {job.name: job for job in done.plan.jobs.values() if isinstance(job.work, TuneWork)}


def model_of(done: Done, name: str) -> Path:
    path: Path = done.output / "models" / name
    return path


def test_the_run_directory_has_everything_by_name(small: Done) -> None:
    assert {path.name for path in small.output.iterdir()} == {
        "candidates", "data", "experiment.toml", "models", "results.json", "scores",
    }  # fmt: skip
    assert list(tuned(small)) == ["it", "zero-shot", *FEW]
    assert {path.name for path in (small.output / "models").iterdir()} == {"it", "zero-shot", *FEW}
    assert {path.name for path in (small.output / "data").iterdir()} == {"source", "target"}
    assert {path.name for path in (small.output / "scores" / "books").iterdir()} == {
        f"{name}{what}.parquet" for name in ("zero-shot", *FEW) for what in ("", "-candidates")
    }
    assert [path.name for path in small.run.models] == [*FEW, "zero-shot", "it"]
    assert model_of(small, "it").resolve() == (small.store / tuned(small)["it"].output).resolve()


def test_labels_and_parents_along_the_chain(small: Done) -> None:
    manifests = {name: read_manifest(model_of(small, name)) for name in tuned(small)}
    target = SampleSet.load(small.output / "data" / "target").fingerprint
    assert manifests["it"].config["labels_seen"] == {}
    for name in ("it", "zero-shot"):
        assert target not in manifests[name].config["labels_seen"]
        assert manifests[name].config["unseen"] == [target]
    for name in FEW:
        assert manifests[name].parents["parent"] == manifests["zero-shot"].fingerprint
        entry = manifests[name].config["labels_seen"][target]
        assert (entry["train"], entry["valid"] > 0) == (4, "paper" in name)


def test_each_scored_model_read_the_test_set_once_for_samples_and_once_for_candidates(small: Done) -> None:
    reads = {name: len(read_manifest(model_of(small, name)).info["test_reads"]) for name in tuned(small)}
    assert reads == {"it": 0, "zero-shot": 2, **dict.fromkeys(FEW, 2)}
    per_sample, per_candidate = read_manifest(model_of(small, "zero-shot")).info["test_reads"]
    assert "candidates" not in per_sample
    lists = read_manifest(small.output / "candidates" / "books", kind="ranking-candidates")
    assert per_candidate["candidates"] == lists.fingerprint
    assert per_candidate["n"] == 10 * lists.info["statistics"]["lists"]


def test_a_promise_is_enforced_where_it_is_broken(
    small: Done, tmp_path: Path, write_small: Callable[..., Path], recorder: Recorder
) -> None:
    """A stage that must not have seen a label of the data it is tuned on is not tuned."""
    changes = (
        'data = ["source"]\nzero_shot_for = ["target"]\nselection',
        'data = ["target"]\nzero_shot_for = ["target"]\nselection',
    )
    run = run_experiment(write_small(changes), tmp_path / "out", small.store, reporter=recorder)
    failed = {missing.job: missing.reason for missing in run.results.missing if missing.status == "failed"}
    assert list(failed) == ["zero-shot"]
    assert "zero-shot" in failed["zero-shot"]
    assert run.failures > 1


def test_every_task_is_told_to_its_end(small: Done) -> None:
    assert set(small.told.tasks) == {"backbone nano", *tuned(small), "results of books"}
    assert all(done == total for done, total, _ in small.told.tasks.values())
    assert small.told.tasks["it"][2].startswith("loss ")


def test_the_same_command_again_does_nothing(
    small: Done, write_small: Callable[..., Path], recorder: Recorder, stage: Stage
) -> None:
    before = files(small.store)
    again = run_experiment(write_small(), small.output, reporter=recorder)
    assert (set(recorder.tasks), stage.begun()) == ({"results of books"}, [])
    assert again.results.panels == small.run.results.panels
    assert files(small.store) == before


def test_a_changed_stage_is_made_beside_the_old_one_and_its_link_follows(
    small: Done, tmp_path: Path, write_small: Callable[..., Path], recorder: Recorder
) -> None:
    def alone(*changes: tuple[str, str]) -> Path:
        path = write_small(*changes)
        path.write_text(path.read_text().partition('[[stages]]\nname = "zero-shot"')[0])
        return path

    first = run_experiment(alone(), tmp_path / "out", small.store, reporter=recorder)
    assert (recorder.tasks, first.results.panels) == ({}, ())
    old = (tmp_path / "out" / "models" / "it").resolve()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "data",
        "experiment.toml",
        "models",
        "results.json",
    ]
    change = ("instructions = 20\nbatch_size = 4", "instructions = 21\nbatch_size = 4")
    run_experiment(alone(change), tmp_path / "out", small.store, reporter=recorder)
    assert list(recorder.tasks) == ["it"]
    assert read_manifest(tmp_path / "out" / "models" / "it").config["stage"]["instructions"] == 21
    assert read_manifest(old).config["stage"]["instructions"] == 20, "the store keeps both"
    run_experiment(alone(), tmp_path / "out", small.store)
    assert (tmp_path / "out" / "models" / "it").resolve() == old


def test_models_and_data_work_through_their_links(small: Done) -> None:
    data = SampleSet.load(small.output / "data" / "target")
    scorer = load_scorer(model_of(small, "zero-shot"), data)
    assert scorer.name == "zero-shot"
    assert ScoreFile.read(small.output / "scores" / "books" / "zero-shot.parquet").split == "test"


@pytest.mark.slow
def test_adapters_are_functions_of_the_file_alone(
    small: Done, tmp_path: Path, write_small: Callable[..., Path], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after a stage and run again in another store, with other data sets first: the same bytes."""
    monkeypatch.setenv("RECALIGN_CACHE", str(tmp_path / "cache"))  # nano is built anew
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # bits are those of a number of threads: one, as in `small`
    path = write_small()
    whole = path.read_text()
    path.write_text(whole.partition('[[stages]]\nname = "few"')[0])
    run_experiment(path, tmp_path / "out", reporter=recorder)
    assert {"it", "zero-shot"} <= set(recorder.tasks)
    recorder.tasks.clear()
    path.write_text(whole)
    run_experiment(path, tmp_path / "out", jobs=2, reporter=recorder)
    assert set(recorder.tasks) == {*FEW, "results of books"}
    for name in tuned(small):
        mine, theirs = (read_manifest(folder / "models" / name) for folder in (tmp_path / "out", small.output))
        assert mine.files["adapter/recalign_adapter.json"] == theirs.files["adapter/recalign_adapter.json"]


def test_rows_of_the_results(small: Done) -> None:
    document = json.loads((small.output / "results.json").read_text())
    (panel,) = document["panels"]
    models = [(row["model"], row["shots"], row["seeds"]) for row in panel["rows"] if row["kind"] == "tuned"]
    assert models == [
        ("zero-shot", None, [0]),
        ("few (strict-k)", 4, [0, 1]),
        ("few (paper)", 4, [0, 1]),
    ]
    assert [row["kind"] for row in panel["rows"]][: -len(models)] == ["prior"] * (len(panel["rows"]) - len(models))
    for row in panel["rows"]:
        assert row["model"] == "prior:random" or row["metrics"]["auc"]["mean"] > 0
        assert row["metrics"]["ndcg"]["mean"] > 0
    assert panel["n"] > 0


def test_without_candidates_there_is_no_ranking(
    small: Done, tmp_path: Path, write_small: Callable[..., Path], stage: Stage
) -> None:
    run = run_experiment(write_small(("negatives = 9\n", "")), tmp_path / "out", small.store)
    assert stage.begun() == []
    (panel,) = run.results.panels
    assert all(row.mean("ndcg") is None for row in panel.rows)
    assert not (tmp_path / "out" / "candidates").exists()
    assert not list((tmp_path / "out" / "scores" / "books").glob("*-candidates.parquet"))


def test_scores_that_are_gone_are_made_again_and_the_read_is_logged_again(
    small: Done, tmp_path: Path, write_small: Callable[..., Path]
) -> None:
    changes = ('name = "few"', 'name = "some"'), ('stages = ["zero-shot", "few"]', 'stages = ["zero-shot"]')
    run = run_experiment(write_small(*changes, ("negatives = 9\n", "")), tmp_path / "out", tmp_path / "store")
    (score,) = [job for job in run.plan.jobs.values() if job.work.kind == "score"]
    model = tmp_path / "out" / "models" / "zero-shot"
    kept = (tmp_path / "store" / score.output).read_bytes()
    (tmp_path / "store" / score.output).unlink()
    run_experiment(write_small(*changes, ("negatives = 9\n", "")), tmp_path / "out", tmp_path / "store")
    assert (tmp_path / "store" / score.output).read_bytes() == kept
    assert len(read_manifest(model).info["test_reads"]) == 2


def test_a_run_of_an_earlier_version_is_refused_before_anything_is_done(
    tmp_path: Path, write_small: Callable[..., Path], recorder: Recorder
) -> None:
    (tmp_path / "out" / "models" / "it").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"run .*out; found models/it, which is no link .*--output .*out-2"):
        run_experiment(write_small(), tmp_path / "out", reporter=recorder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small.toml"]
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["models", "it"]
    assert recorder.notes == []


def test_data_is_prepared_under_its_own_name(small: Done) -> None:
    prepared = [job for job in small.plan.jobs.values() if isinstance(job.work, PrepareWork)]
    assert [job.name for job in prepared] == ["source", "target"]
    assert all(job.output.startswith(f"data/{job.name}-") for job in prepared)
