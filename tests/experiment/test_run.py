"""The smoke experiment end to end: every kind of work in the fast tests, and figures that are computed here again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recalign.artifacts import read_manifest
from recalign.baselines.in_context import load_in_context
from recalign.data.samples import CandidateList, SampleSet
from recalign.errors import ConfigError
from recalign.evaluation.controls import unseen_titles
from recalign.evaluation.document import Panel, Row, Unseen
from recalign.evaluation.score_file import ScoreFile
from recalign.experiment.results import Results
from recalign.experiment.run import estimate_experiment, run_experiment
from recalign.experiment.store import NanoWork, Store

SMOKE = Path(__file__).parents[2] / "experiments" / "smoke.toml"
CONTROLS = ("shuffled-history", "foreign-history", "masked-titles")

Done = Any  # of conftest
Stage = Any
Recorder = Any


def panel_of(results: Results, name: str) -> Panel:
    return next(panel for panel in results.panels if panel.name == name)


def row_of(panel: Panel, model: str, shots: int | None = None, control: str = "") -> Row:
    (row,) = [each for each in panel.rows if (each.model, each.shots, each.control) == (model, shots, control)]
    return row


def scores_of(done: Done, panel: str, model: str, shots: int | None = None, control: str = "") -> list[pl.DataFrame]:
    """Score frames of a row, one per seed, each of all folds."""
    (plan,) = [each for each in done.plan.panels if each.entry.name == panel]
    cells = [each for each in plan.cells if (each.model, each.shots, each.control) == (model, shots, control)]
    return [pl.concat([ScoreFile.read(done.store / job.output).frame for job in cell.scores]) for cell in cells]


def plain_auc(frame: pl.DataFrame) -> float:
    """The share of pairs in the right order."""
    liked = frame.filter(pl.col("label") == 1)["score"].to_numpy()
    disliked = frame.filter(pl.col("label") == 0)["score"].to_numpy()
    return float(np.mean(np.sign(liked[:, None] - disliked[None, :]) / 2 + 0.5))


def without_time(results: Results) -> dict[str, Any]:
    """Results as written, without when, where and in what time it was made."""
    return json.loads(results.model_dump_json(exclude={"finished", "commands", "cpu_hours", "machine"}))  # type: ignore[no-any-return]


def test_everything_was_done_once_and_is_written(smoke: Done) -> None:
    assert {outcome.status for outcome in smoke.run.outcomes.values()} == {"done"}
    assert set(smoke.run.outcomes) == set(smoke.plan.jobs)
    assert {job.work.kind for job in smoke.plan.jobs.values()} == {
        "prepare", "nano", "teach", "tune", "baseline", "candidates", "score",
    }  # fmt: skip
    ended = [note for note in smoke.told.notes if note.startswith("[")]
    assert len(ended) == len(smoke.plan.jobs)
    assert smoke.run.failures == 0
    results = Results.read(smoke.output)
    assert results == smoke.run.results
    assert results.settings.endswith(SMOKE.read_text(encoding="utf-8"))
    assert (smoke.output / "experiment.toml").read_text(encoding="utf-8") == results.settings
    assert results.commands == (
        f"recalign run {SMOKE} --output {smoke.output}",
        f"recalign report {smoke.output}",
    )
    assert results.cpu_hours > 0
    assert set(results.audit) == {"movie", "book fold 0"}


def test_a_row_without_an_encoder_says_so_and_is_no_failure(smoke: Done) -> None:
    row = row_of(panel_of(smoke.run.results, "movie"), "GRU-BERT", 8)
    assert (row.status, row.reason, row.seeds) == ("not run", "no text encoder was given", ())
    assert row.mean("auc") is None
    (missing,) = smoke.run.results.missing
    assert (missing.job, missing.status) == ("GRU-BERT, panel movie", "not run")


@pytest.mark.parametrize(
    ("panel", "model", "shots", "control"),
    [
        ("movie", "TLRec", None, ""),
        ("movie", "TLRec", 8, ""),
        ("movie", "GRU4Rec", 8, ""),
        ("movie", "TLRec", None, "foreign-history"),
        ("movie", "In-context, 2 examples", None, ""),
        ("book", "TLRec", None, ""),
        ("book", "TALLRec", 8, ""),
    ],
)
def test_auc_is_that_of_the_stored_scores(smoke: Done, panel: str, model: str, shots: int | None, control: str) -> None:
    row, frames = (
        row_of(panel_of(smoke.run.results, panel), model, shots, control),
        scores_of(smoke, panel, model, shots, control),
    )
    values = [plain_auc(frame) for frame in frames]
    assert row.mean("auc") is not None
    assert row.mean("auc") == pytest.approx(np.mean(values), abs=1e-6)
    assert row.metrics["auc"].n == len(values) == len(row.seeds)
    if len(values) > 1:
        assert row.metrics["auc"].sd == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert row.mean("logloss") is not None
    losses = [np.logaddexp(0, frame["score"] * (1 - 2 * frame["label"].cast(pl.Int8))).mean() for frame in frames]
    assert row.mean("logloss") == pytest.approx(np.mean(losses), abs=1e-6)
    assert sum(each.count for each in row.reliability) == sum(frame.height for frame in frames)


def test_in_context_prompts_are_written_with_the_template_that_is_asked_for(smoke: Done) -> None:
    (plan,) = [each for each in smoke.plan.panels if each.entry.name == "movie"]
    (job,) = next(cell.scores for cell in plan.cells if cell.model == "In-context")
    data, backbone = SampleSet.load(smoke.store / plan.data[0].output), Store(smoke.store).backbone(job.work.in_context)
    sample = data.samples("test")[0]
    scores = ScoreFile.read(smoke.store / job.output).frame
    stored = scores.filter(sample_id=sample.sample_id)["score"].item()
    question = [CandidateList(sample.user_id, sample.history, (sample.item_id,))]
    scorers = [load_in_context(backbone, data, template=name) for name in ("tallrec", data.template)]
    asked, other = (scorer.score(question).values[0].item() for scorer in scorers)
    assert stored == pytest.approx(asked, rel=1e-4)
    assert stored != pytest.approx(other, rel=1e-2)


def test_folds_test_every_user_once_each_with_the_model_that_did_not_see_them(smoke: Done) -> None:
    panel = panel_of(smoke.run.results, "book")
    (plan,) = [each for each in smoke.plan.panels if each.entry.name == "book"]
    folds = [SampleSet.load(smoke.store / job.output) for job in plan.data]
    tested = [set(fold.frame("test")["user_id"]) for fold in folds]
    assert len(folds) == 3
    assert panel.n_users == len(set.union(*tested)) == sum(map(len, tested)) == 40
    assert panel.n == sum(fold.frame("test").height for fold in folds)
    frames = scores_of(smoke, "book", "TALLRec", 8)
    assert [frame.height for frame in frames] == [panel.n] * 2
    (cell, _) = [each for each in plan.cells if each.model == "TALLRec"]
    assert len(cell.trained) == len({job.key for job in cell.trained}) == 3
    for data, model, scores in zip(plan.data, cell.trained, cell.scores, strict=True):
        assert data.key in model.needs, "trained on the train split of this very fold"
        assert {data.key, model.key} <= set(scores.needs)
    taught = [set(fold.frame("train")["user_id"]) for fold in folds]
    assert all(users.isdisjoint(others) for users, others in zip(tested, taught, strict=True))
    (cell, _) = [each for each in plan.cells if each.model == "TLRec"]
    assert len(cell.trained) == 1, "a model without folds is scored on all of them"


def test_controls_are_rows_of_their_own_that_rank_nothing(smoke: Done) -> None:
    panel = panel_of(smoke.run.results, "movie")
    plain = row_of(panel, "TLRec")
    assert plain.mean("ndcg") is not None
    controlled = [row for row in panel.rows if row.control]
    assert [(row.model, row.shots, row.control) for row in controlled] == [("TLRec", None, name) for name in CONTROLS]
    for row in controlled:
        assert row.mean("ndcg") is None
        assert (row.training, row.published) == ((), {})
        frames = scores_of(smoke, "movie", "TLRec", None, row.control)
        for frame, other in zip(frames, scores_of(smoke, "movie", "TLRec"), strict=True):
            same = frame.join(other, on=["sample_id", "user_id", "item_id", "label"], suffix="_plain")
            assert same.height == frame.height == panel.n
            assert (same["score"] != same["score_plain"]).any()


def test_comparisons_are_those_asked_for_and_the_controls_against_their_own_rows(smoke: Done) -> None:
    found = [(each.a, each.b, each.metric) for each in panel_of(smoke.run.results, "movie").comparisons]
    assert found == [
        *[(f"TLRec, nano, {name}", "TLRec, nano", "auc") for name in CONTROLS],
        ("TLRec, nano, 8-shot", "GRU4Rec, 8-shot", "auc"),
        ("TLRec, nano, 8-shot", "GRU4Rec, 8-shot", "ndcg"),
    ]
    for each in panel_of(smoke.run.results, "movie").comparisons:
        if each.metric == "auc":
            left, right = (
                value
                for name in (each.a, each.b)
                for row in panel_of(smoke.run.results, "movie").rows
                if row.title == name and (value := row.mean("auc")) is not None
            )
            assert each.difference == pytest.approx(left - right, abs=2e-6)


def test_unseen_titles_are_scored_apart(smoke: Done) -> None:
    panel = panel_of(smoke.run.results, "movie")
    (plan,) = [each for each in smoke.plan.panels if each.entry.name == "movie"]
    source, movie = (SampleSet.load(smoke.store / each.output) for each in (plan.unseen_by[0][0], plan.data[0]))
    unseen = unseen_titles(movie, "test", [source])
    assert 0 < len(unseen) < panel.n
    assert panel.unseen == Unseen(count=len(unseen), data=("source",))
    frames = [each.filter(pl.col("sample_id").is_in(list(unseen))) for each in scores_of(smoke, "movie", "SASRec", 8)]
    assert row_of(panel, "SASRec", 8).mean("unseen-auc") == pytest.approx(
        np.mean([plain_auc(frame) for frame in frames]), abs=1e-6
    )


def test_a_row_is_judged_against_the_prior_that_is_best_here(smoke: Done) -> None:
    for panel in smoke.run.results.panels:
        means = {row.model: row.mean("auc") for row in panel.rows if row.kind == "prior"}
        priors = {name: value for name, value in means.items() if value is not None}
        best = max(priors, key=lambda name: priors[name])
        for row in panel.rows:
            if row.kind == "prior" or row.status == "not run":
                assert row.verdicts == {}
                continue
            auc, verdict = row.mean("auc"), row.verdicts["auc"]
            assert auc is not None
            assert verdict.prior == best
            assert verdict.difference == pytest.approx(auc - priors[best], abs=2e-6)
    assert "prior:random" in {row.model for row in panel_of(smoke.run.results, "movie").rows}
    assert "prior:random" not in {row.model for row in panel_of(smoke.run.results, "book").rows}


def test_temperatures_are_of_models_that_saw_validation_labels_and_of_plain_rows(smoke: Done) -> None:
    (plan,) = [each for each in smoke.plan.panels if each.entry.name == "movie"]
    fingerprint = SampleSet.load(smoke.store / plan.data[0].output).fingerprint
    seen = set()
    for cell in plan.cells:
        for job in cell.scores:
            models = [read_manifest(smoke.store / each.output).config["labels_seen"] for each in cell.trained]
            allowed = not cell.control and any(labels.get(fingerprint, {}).get("valid", 0) for labels in models)
            assert (ScoreFile.read(smoke.store / job.output).temperature.value is not None) == allowed, cell
            seen.add(allowed)
    assert seen == {True, False}
    row = row_of(panel_of(smoke.run.results, "movie"), "prior:like-rate")
    assert row.mean("logloss-calibrated") is not None


def test_training_curves_are_those_of_the_logs(smoke: Done) -> None:
    row = row_of(panel_of(smoke.run.results, "movie"), "TLRec")
    assert [(curve.seed, curve.stage) for curve in row.training] == [(0, "full-seed0"), (1, "full-seed1")]
    (plan,) = [each for each in smoke.plan.panels if each.entry.name == "movie"]
    (model, _) = [cell.trained[0] for cell in plan.cells if cell.row == ("TLRec", "nano", None, "")]
    lines = (smoke.store / model.output / "metrics.jsonl").read_text().splitlines()
    logged = {each["step"]: each for each in map(json.loads, lines) if "loss" in each}
    (point,) = row.training[0].points
    assert (point.step, point.loss) == (4, logged[4]["loss"])
    assert math.isfinite(point.loss)
    assert point.validation is not None


def test_run_again_runs_nothing_and_says_the_same(
    smoke: Done, tmp_path: Path, stage: Stage, recorder: Recorder
) -> None:
    again = run_experiment(SMOKE, tmp_path / "out", smoke.store, reporter=recorder)
    assert {outcome.status for outcome in again.outcomes.values()} == {"found"}
    assert recorder.notes == ["results: metrics, intervals and tests"]
    assert list(recorder.tasks) == [f"results of {panel.name}" for panel in again.results.panels]
    assert all(done == total for done, total, _ in recorder.tasks.values())
    assert stage.begun() == []
    assert without_time(again.results) == without_time(smoke.run.results)
    assert again.results.cpu_hours == smoke.run.results.cpu_hours


def test_a_backbone_that_left_the_cache_is_built_again(smoke: Done) -> None:
    store = Store(smoke.store)
    (job,) = [job for job in smoke.plan.jobs.values() if isinstance(job.work, NanoWork)]
    built = Path(json.loads(store.path(job.output).read_text())["directory"])
    assert store.is_done(job)
    built.rename(built.with_name("moved"))
    try:
        assert not store.is_done(job)
        assert estimate_experiment(SMOKE, smoke.store).measured["nano"][0] == 1
    finally:
        built.with_name("moved").rename(built)


def test_fewer_seeds_are_said_to_be_fewer(smoke: Done, tmp_path: Path) -> None:
    short = run_experiment(SMOKE, tmp_path / "out", smoke.store, seeds=1)
    assert {outcome.status for outcome in short.outcomes.values()} == {"found"}
    assert {row.seeds for panel in short.results.panels for row in panel.rows} == {(), (0,)}
    assert short.results.commands[0].endswith(" --seeds 1")


def test_a_store_is_held_by_one_run(smoke: Done, tmp_path: Path, write: Callable[..., Path]) -> None:
    with Store(smoke.store).locked(), pytest.raises(ConfigError, match="another run at work in it"):
        run_experiment(SMOKE, tmp_path / "out", smoke.store)
    assert not (tmp_path / "out").exists()


def test_scores_found_in_the_store_are_held_to_a_promise_made_later(smoke: Done, tmp_path: Path, stage: Stage) -> None:
    text = SMOKE.read_text(encoding="utf-8").replace('zero_shot = ["full"]', 'zero_shot = ["full", "few-movie"]')
    (tmp_path / "liar.toml").write_text(text, encoding="utf-8")
    run = run_experiment(tmp_path / "liar.toml", tmp_path / "out", smoke.store)
    assert stage.begun() == []
    panel = panel_of(run.results, "movie")
    assert row_of(panel, "TLRec").status == "done"
    for shots in (4, 8):
        row = row_of(panel, "TLRec", shots)
        assert row.status == "not run"
        assert row.reason.startswith("zero-shot row of movie")
        assert (row.metrics, row.verdicts, row.training, row.seeds) == ({}, {}, (), ())
    assert [(each.job, each.status) for each in run.results.missing if each.status == "failed"] == [
        (f"TLRec, nano, {shots}-shot, panel movie", "failed") for shots in (4, 8)
    ]
    assert run.failures == 2
    assert not any("8-shot" in each.a for each in panel.comparisons), "what is not shown is not compared"
