"""`recalign evaluate`: one JSON object, priors beside the model, clear errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from recalign.artifacts import read_manifest, write_directory
from recalign.cli.evaluate import evaluate
from recalign.data.ranking_lists import RankingConfig, ranking_candidates, write_ranking_candidates
from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.errors import ArtifactError, ConfigError, DataError, RecalignError
from recalign.evaluation.document import Panel, Row
from recalign.evaluation.score_file import ScoreFile
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set

TITLES = {str(i): f"Title {i}" for i in range(8)}
PRIORS = {
    *("prior:like-rate", "prior:item-mean", "prior:popularity", "prior:like-rate+item-mean"),
    *("prior:recent", "prior:recent+item-mean"),
}
FAST = ("--resamples", "20")


def samples(prefix: str, seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        Sample(
            f"{prefix}{i}",
            f"u{i % 12}",
            str(rng.integers(0, 8)),
            int(rng.random() < 0.5),
            tuple(HistoryEntry(str(k), bool(rng.random() < 0.5)) for k in range(3)),
        )
        for i in range(60)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    splits = {"train": samples("t", 0), "valid": samples("v", 1), "test": samples("e", 2)}
    write_sample_set(tmp_path / "data", TITLES, splits)
    return tmp_path / "data"


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    write_sample_set(tmp_path / "untrained", TITLES, {"test": samples("e", 2)})
    return tmp_path / "untrained"


def invoke(*arguments: object) -> str:
    """Run the command as the program does, without its error boundary: errors are raised."""
    app = typer.Typer()
    app.command()(evaluate)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and isinstance(result.exception, RecalignError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def panel(*arguments: object) -> Panel:
    """What ``--json`` prints, validated."""
    text = invoke(*arguments, "--json", *FAST)
    assert text.count("\n") == 1
    return Panel.model_validate_json(text)


def row_of(found: Panel, model: str) -> Row:
    (row,) = [row for row in found.rows if row.model == model]
    return row


def test_json_is_one_object_with_the_metrics_and_the_other_priors(data: Path) -> None:
    found = panel("prior:like-rate", "--data", data)
    assert (found.n, found.n_users, found.split, found.data) == (60, 12, "test", "data")
    assert found.rows[0].model == "prior:like-rate"
    assert {row.model for row in found.rows} == PRIORS
    first = found.rows[0]
    assert {"auc", "gauc", "labelled-ndcg", "logloss", "ece"} <= set(first.metrics)
    assert first.metrics["auc"].ci is not None
    assert row_of(found, "prior:item-mean").mean("auc") is not None
    assert first.verdicts == {}
    temperature = first.mean("temperature")
    assert temperature is not None
    assert temperature > 0


def test_the_table_shows_all_priors_and_what_they_learned_from(data: Path) -> None:
    text = invoke("prior:item-mean", "--data", data, *FAST)
    for name in PRIORS:
        assert name in text
    assert "train split of the evaluated data itself" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines() if " recalign " not in line) <= 80


def test_fit_names_what_the_priors_learn_from(data: Path, untrained: Path) -> None:
    learned = panel("prior:item-mean", "--data", untrained, "--fit", data).learned
    assert learned.fit == "data"
    assert len(learned.interactions) == 1
    with pytest.raises(ConfigError, match=r"prior:item-mean has nothing to learn from.*--fit DIR"):
        invoke("prior:item-mean", "--data", untrained)
    with pytest.raises(DataError, match="no train samples"):
        invoke("prior:item-mean", "--data", data, "--fit", untrained)
    alone = panel("prior:like-rate", "--data", untrained)
    assert [row.model for row in alone.rows] == ["prior:like-rate"]
    assert alone.learned.interactions == ()
    assert "left out" in " ".join(invoke("prior:like-rate", "--data", untrained, *FAST).split())


def test_output_is_the_score_file_of_the_model_alone(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    invoke("prior:like-rate", "--data", data, "--output", path, "--seed", "5", *FAST)
    scores = ScoreFile.read(path)
    assert scores.frame["model"].unique().to_list() == ["prior:like-rate"]
    assert scores.frame["seed"].unique().to_list() == [5]
    assert scores.frame.height == 60


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("prior:likerate", r"unknown prior 'likerate'.*Did you mean prior:like-rate"),
        ("prior:zzz", r"unknown prior 'zzz'; expected prior:like-rate"),
        ("like-rate", r"model 'like-rate'; found no such directory.*Did you mean prior:like-rate\?"),
        ("runs/none", r"model 'runs/none'; found no such directory; expected a run directory"),
    ],
)
def test_an_unknown_model_is_one_clear_line(data: Path, model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        invoke(model, "--data", data)
    assert "\n" not in str(caught.value)


def test_an_empty_or_unknown_split_is_one_clear_line(untrained: Path) -> None:
    with pytest.raises(DataError, match=r"split 'valid' of the data; found no samples \(train 0, valid 0, test 60\)"):
        invoke("prior:like-rate", "--data", untrained, "--split", "valid")
    with pytest.raises(ConfigError, match=r"split 'tset'.*train"):
        invoke("prior:like-rate", "--data", untrained, "--split", "tset")


def test_missing_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        invoke("prior:like-rate", "--data", tmp_path / "nothing")


class Stub:
    """Stands for the language model."""

    name = "stub"
    log_odds = True

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        values = tuple(np.array([float(int(item) % 3) for item in each.item_ids]) for each in lists)
        return Scores(values, tuple(np.full(v.shape, 0.9) for v in values))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory whose scorer is the stub."""
    with write_directory(tmp_path / "run", "model", config={}) as staging:
        (staging / "weights").write_bytes(b"w")
    monkeypatch.setattr("recalign.evaluation.evaluate.load_saved", lambda *_, **options: Stub())
    return tmp_path / "run"


def test_a_run_is_compared_with_the_priors_and_its_test_read_is_logged(data: Path, run: Path) -> None:
    found = panel(run, "--data", data)
    first = found.rows[0]
    assert (first.model, first.kind) == ("run", "tuned")
    assert {row.model for row in found.rows[1:]} == PRIORS
    assert first.verdicts["auc"].prior in PRIORS
    assert first.mean("label-mass") == pytest.approx(0.9)
    assert len(read_manifest(run).info["test_reads"]) == 1
    invoke(run, "--data", data, "--split", "valid", *FAST)
    assert len(read_manifest(run).info["test_reads"]) == 1


def test_too_few_users_are_told_the_way_to_more_samples(data: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "leave-n-out" not in invoke(run, "--data", data, *FAST), "the protocol of these data is unknown"
    monkeypatch.setattr(SampleSet, "protocol", "leave-one-out")
    told = " ".join(invoke(run, "--data", data, *FAST).split())
    assert "Too few samples: " in told
    assert "--protocol leave-n-out --holdout 10" in told
    assert f"recalign page {run} --data {data} --output run.html" in told


def test_a_run_sees_validation_labels_only_when_told(data: Path, run: Path) -> None:
    assert panel(run, "--data", data).rows[0].mean("temperature") is None
    given = panel(run, "--data", data, "--calibrate").rows[0]
    assert given.mean("temperature") is not None
    assert row_of(panel(run, "--data", data, "--no-calibrate"), "prior:like-rate").mean("temperature") is None
    uncalibrated = panel(run, "--data", data).rows[0].metrics
    for name in ("temperature", "logloss-calibrated", "ece-calibrated"):
        assert uncalibrated[name].reason == "validation labels were not to be used"
    assert "Temperature" not in invoke(run, "--data", data, *FAST)  # nothing to mend


def test_a_run_stands_for_its_only_model(data: Path, run: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    (whole / "models").mkdir(parents=True)
    run.rename(whole / "models" / "first")
    assert panel(whole, "--data", data).rows[0].model == "first"
    assert len(read_manifest(whole / "models" / "first").info["test_reads"]) == 1
    with write_directory(whole / "models" / "second", "model", config={}) as staging:
        (staging / "weights").write_bytes(b"w")
    with pytest.raises(ConfigError, match=r"2 models in it: first, second; .*For example .*models/second"):
        invoke(whole, "--data", data)


@pytest.fixture
def wide(tmp_path: Path) -> tuple[Path, Path]:
    """Prepared data of 40 items, and ranking candidates of its test split."""
    titles = {str(i): f"Title {i}" for i in range(40)}
    data = write_sample_set(tmp_path / "wide", titles, {"train": samples("t", 0), "test": samples("e", 2)})
    config = RankingConfig(negatives=20)
    lists, counts = ranking_candidates(data, config)
    write_ranking_candidates(tmp_path / "lists", lists, counts, config, parent=data.fingerprint)
    return tmp_path / "wide", tmp_path / "lists"


def test_candidates_are_ranked_beside_the_rivals(run: Path, wide: tuple[Path, Path], tmp_path: Path) -> None:
    data, lists = wide
    output = tmp_path / "scores.parquet"
    given = (run, "--data", data, "--candidates", lists, "--output", output, *FAST)
    found = Panel.model_validate_json(invoke(*given, "--json"))
    ranked = [row for row in found.rows if row.mean("ndcg") is not None]
    assert ranked[0].model == "run"
    assert {row.model for row in ranked} == {"run", "prior:random", *PRIORS}
    assert all(row.metrics[name].ci for row in ranked for name in ("ndcg", "recall", "mrr"))
    assert ranked[0].verdicts["ndcg"].prior in {"prior:random", *PRIORS}
    assert found.ranked is not None
    assert found.ranked.fingerprints == (read_manifest(lists).fingerprint,)
    assert ScoreFile.read(output).candidates == ""
    scores = ScoreFile.read(tmp_path / "scores.candidates.parquet")
    assert scores.candidates == read_manifest(lists).fingerprint
    assert scores.frame.height == 21 * found.ranked.lists
    assert len(read_manifest(run).info["test_reads"]) == 2
    text = invoke(*given)
    assert "Recall@10" in text
    assert "strong rival" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines() if " recalign " not in line) <= 80


def test_candidates_must_be_of_this_data_and_split(data: Path, wide: tuple[Path, Path]) -> None:
    with pytest.raises(ArtifactError, match="ranking candidates"):
        invoke("prior:like-rate", "--data", data, "--candidates", wide[1])
    with pytest.raises(ConfigError, match=r"lists of split test; expected split train. Pass --split test"):
        invoke("prior:like-rate", "--data", wide[0], "--candidates", wide[1], "--split", "train")


def test_several_models_share_tables(run: Path, wide: tuple[Path, Path], tmp_path: Path) -> None:
    data, lists = wide
    twin = tmp_path / "elsewhere" / "run"
    with write_directory(twin, "model", config={}) as staging:
        (staging / "weights").write_bytes(b"v")
    output = tmp_path / "scores"
    given = (run, twin, "prior:popularity", "--data", data, "--candidates", lists, "--output", output, *FAST)
    found = Panel.model_validate_json(invoke(*given, "--json"))
    models = [row.model for row in found.rows]
    assert models[:3] == [str(run), str(twin), "prior:popularity"], "both called run"
    assert set(models[3:]) == {"prior:random", *PRIORS} - {"prior:popularity"}
    assert len(models) == len(set(models)) == 9
    assert found.rows[0].verdicts["auc"].prior in PRIORS
    assert found.rows[2].verdicts == {}
    assert all(row.mean("ndcg") is not None for row in found.rows)
    assert len(list(output.iterdir())) == 6
    assert (output / "prior:popularity.candidates.parquet").exists()
    with pytest.raises(ConfigError, match="one of them twice"):
        invoke("prior:popularity", "prior:popularity", "--data", data)


def test_a_broken_run_directory_is_one_clear_line(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError):
        invoke(tmp_path / "empty", "--data", data)
