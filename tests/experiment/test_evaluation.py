"""Evaluation: metrics come from the score file alone, nulls have reasons, test reads are logged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recalign.artifacts import read_manifest, write_directory
from recalign.data.catalog import ItemCatalog
from recalign.data.feedback import FeedbackConfig
from recalign.data.readers.movielens import read_movielens
from recalign.data.readers.movielens_100k import read_movielens_100k
from recalign.data.sample_table import write_samples
from recalign.data.samples import ITEMS_FILE, KIND, CandidateList, HistoryEntry, Sample, SampleSet
from recalign.data.source import SourceData, SourceOptions
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.errors import ArtifactError, ConfigError, DataError
from recalign.experiment.evaluation import (
    Evaluation,
    compare,
    compute_metrics,
    evaluate,
    pick_prior,
    priors_for,
    validation_labels_seen,
)
from recalign.experiment.score_file import ScoreFile
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set

LIKES = FeedbackConfig(kind="explicit", like_above=3.0)
TITLES = {str(i): f"Title {i}" for i in range(10)}


class Taste:
    """Log-odds 2 for items with an even id, -2 for the others, plus 0.1 per liked history entry."""

    name = "taste"

    def __init__(self, *, log_odds: bool = True, mass: bool = False, flip: bool = False) -> None:
        self.log_odds, self.mass, self.sign = log_odds, mass, -1 if flip else 1

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        values = tuple(np.array([self._value(each, item) for item in each.item_ids]) for each in lists)
        return Scores(values, tuple(np.full(v.shape, 0.5) for v in values) if self.mass else None)

    def _value(self, each: CandidateList, item: str) -> float:
        return self.sign * (2.0 if int(item) % 2 == 0 else -2.0) + 0.1 * sum(entry.liked for entry in each.history)


def samples(prefix: str, users: int, seed: int, wrong: float = 0.2) -> list[Sample]:
    """Six targets per user; even items are liked, but for a share of `wrong`."""
    rng = np.random.default_rng(seed)
    result = []
    for user in range(users):
        for place in range(6):
            item = int(rng.integers(0, 10))
            liked = (item % 2 == 0) != (rng.random() < wrong)
            history = tuple(HistoryEntry(str(i), bool(rng.random() < 0.5)) for i in rng.permutation(10)[:4])
            result.append(Sample(f"{prefix}{user}-{place}", f"u{user}", str(item), int(liked), history))
    return result


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SampleSet]:
    def build(**splits: list[Sample]) -> SampleSet:
        place = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        return write_sample_set(place, TITLES, splits)

    return build


@pytest.fixture
def data(make: Callable[..., SampleSet]) -> SampleSet:
    return make(train=samples("t", 20, 0), valid=samples("v", 20, 1), test=samples("e", 20, 2))


def test_all_metrics_are_there_and_json(data: SampleSet) -> None:
    metrics = evaluate(Taste(mass=True), data, resamples=200).metrics
    assert set(metrics) == {
        *("model", "split", "seed", "n", "n_users", "positive_share", "auc", "auc_ci", "gauc", "gauc_ci", "gauc_users"),
        *("labelled_ndcg", "labelled_ndcg_ci", "labelled_ndcg_users", "labelled_ndcg_excluded"),
        *("logloss", "ece", "accuracy", "temperature", "logloss_calibrated", "ece_calibrated", "label_mass", "reasons"),
    }
    assert metrics["reasons"] == {}
    assert (metrics["model"], metrics["split"], metrics["n"], metrics["n_users"]) == ("taste", "test", 120, 20)
    assert metrics["auc_ci"][0] < metrics["auc"] < metrics["auc_ci"][1]
    assert metrics["gauc_ci"][0] < metrics["gauc"] < metrics["gauc_ci"][1]
    assert metrics["label_mass"] == 0.5
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert "label_mass" not in evaluate(Taste(), data, resamples=10).metrics


def test_values_by_hand(make: Callable[..., SampleSet]) -> None:
    rows = [("u", "0", 1), ("u", "1", 0), ("v", "2", 0), ("v", "3", 0)]
    data = make(test=[Sample(f"s{i}", user, item, label, ()) for i, (user, item, label) in enumerate(rows)])
    metrics = evaluate(Taste(), data, resamples=10).metrics
    assert metrics["auc"] == 2.5 / 3  # the liked item ties with one disliked item and beats two
    assert (metrics["gauc"], metrics["gauc_users"]) == (1.0, 1)
    assert (metrics["labelled_ndcg"], metrics["labelled_ndcg_users"], metrics["labelled_ndcg_excluded"]) == (1.0, 1, 1)
    assert metrics["accuracy"] == 0.75
    assert metrics["positive_share"] == 0.25
    assert metrics["logloss"] == pytest.approx((3 * math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 4)
    p = 1 / (1 + math.exp(-2))
    assert metrics["ece"] == pytest.approx((abs(2 * p - 1) + 2 * (1 - p)) / 4)


def test_metrics_come_from_the_score_file_alone(data: SampleSet, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    evaluation = evaluate(Taste(mass=True), data, output=path, resamples=50, calibrate=False, seed=4)
    again = compute_metrics(
        ScoreFile.read(path),
        evaluation.metrics["reasons"]["temperature"],
        resamples=50,
        seed=evaluation.metrics["seed"],
    )
    assert again == evaluation.metrics


def test_temperature_is_fitted_on_validation_only_when_allowed(make: Callable[..., SampleSet], data: SampleSet) -> None:
    with_it, without = evaluate(Taste(), data, resamples=10), evaluate(Taste(), data, resamples=10, calibrate=False)
    assert with_it.metrics["temperature"] == pytest.approx(2 / math.log(4), rel=0.5)
    assert without.metrics["temperature"] is without.metrics["ece_calibrated"] is None
    assert without.metrics["reasons"] == {"temperature": "validation labels were not to be used"}
    assert without.metrics["ece"] == with_it.metrics["ece"]
    assert "itself" in evaluate(Taste(), data, "valid", resamples=10).metrics["reasons"]["temperature"]
    bare = make(test=samples("e", 20, 2))
    assert evaluate(Taste(), bare, resamples=10).metrics["reasons"]["temperature"] == "there are no validation samples"


def test_scores_that_are_no_log_odds_have_no_probability_metrics(data: SampleSet) -> None:
    metrics = evaluate(Taste(log_odds=False), data, resamples=10).metrics
    for key in ("logloss", "ece", "accuracy", "temperature", "logloss_calibrated", "ece_calibrated"):
        assert metrics[key] is None
        assert metrics["reasons"][key] == "the scores are an order, not log-odds"
    assert metrics["auc"] is not None


def test_nulls_have_reasons(make: Callable[..., SampleSet]) -> None:
    liked_only = make(test=[Sample("a", "u", "0", 1, ()), Sample("b", "v", "2", 1, ())])
    metrics = evaluate(Taste(), liked_only, resamples=10).metrics
    assert metrics["auc"] is metrics["auc_ci"] is metrics["gauc"] is metrics["gauc_ci"] is None
    assert metrics["reasons"]["auc"] == "every label is positive"
    assert metrics["reasons"]["gauc"] == "none of the 2 users has both classes"
    one_user = make(test=[Sample("a", "u", "0", 1, ()), Sample("b", "u", "2", 0, ())])
    metrics = evaluate(Taste(), one_user, resamples=10).metrics
    assert metrics["reasons"]["auc_ci"] == metrics["reasons"]["gauc_ci"] == "fewer than two users"


def run_directory(path: Path, config: dict[str, object] | None = None) -> Path:
    with write_directory(path, "model", config=config or {}) as staging:
        (staging / "weights").write_bytes(b"w")
    return path


def test_each_read_of_the_test_split_is_logged_in_the_run(data: SampleSet, tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run")
    before = read_manifest(run).fingerprint
    for split in ("valid", "test", "train", "test"):
        evaluate(Taste(), data, split, resamples=10, run_dir=run)
    manifest = read_manifest(run)
    reads = manifest.info["test_reads"]
    assert [(each["model"], each["data"], each["n"]) for each in reads] == [("taste", data.fingerprint, 120)] * 2
    assert all(each["time"].endswith("+00:00") for each in reads)
    assert manifest.fingerprint == before


def test_a_read_that_cannot_be_logged_gives_no_result(data: SampleSet, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError):
        evaluate(Taste(), data, resamples=10, run_dir=tmp_path / "empty", output=tmp_path / "scores.parquet")
    assert not (tmp_path / "scores.parquet").exists()


def test_validation_labels_seen_reads_the_manifest(data: SampleSet, tmp_path: Path) -> None:
    seen = {data.fingerprint: {"train": 16, "valid": 100}}
    assert validation_labels_seen(run_directory(tmp_path / "a", {"labels_seen": seen}), data)
    strict = {data.fingerprint: {"train": 16, "valid": 0}}
    assert not validation_labels_seen(run_directory(tmp_path / "b", {"labels_seen": strict}), data)
    assert not validation_labels_seen(run_directory(tmp_path / "c"), data)


def test_compare_is_paired_and_signed(data: SampleSet) -> None:
    good, bad = evaluate(Taste(), data, resamples=10), evaluate(Taste(flip=True), data, resamples=10)
    result = compare(good, bad, resamples=100)
    assert result["auc"] is not None
    assert result["auc"].above_zero
    assert result["auc"].difference == pytest.approx(good.metrics["auc"] - bad.metrics["auc"])
    assert result["gauc"] is not None
    assert result["gauc"].difference == pytest.approx(good.metrics["gauc"] - bad.metrics["gauc"])
    assert compare([good, good], good, resamples=10)["auc"].difference == 0  # type: ignore[union-attr]


def test_compare_refuses_other_samples(data: SampleSet) -> None:
    with pytest.raises(DataError, match="same sample ids"):
        compare(evaluate(Taste(), data, resamples=10), evaluate(Taste(), data, "valid", resamples=10))


def test_an_empty_score_file_has_no_metrics(data: SampleSet) -> None:
    scores = evaluate(Taste(), data, resamples=10).scores
    empty = ScoreFile(scores.frame.filter(pl.lit(False)), True, "test", "x")
    with pytest.raises(DataError, match="no rows"):
        compute_metrics(empty)


def test_priors_learn_from_fit_else_from_the_own_train_split_else_not(
    make: Callable[..., SampleSet], data: SampleSet
) -> None:
    bare = make(test=samples("e", 5, 3))
    own, given, none = priors_for(data), priors_for(bare, data), priors_for(bare)
    every = ["prior:like-rate", "prior:item-mean", "prior:popularity", "prior:like-rate+item-mean"]
    assert [scorer.name for scorer in own.scorers] == [scorer.name for scorer in given.scorers] == every
    assert [scorer.name for scorer in none.scorers] == ["prior:like-rate"]
    assert "train split of the evaluated data itself" in own.note
    assert "train split of --fit" in given.note
    assert "left out" in none.note
    assert pick_prior(own, "item-mean").name == "prior:item-mean"
    with pytest.raises(ConfigError, match=r"nothing to learn from.*--fit DIR"):
        pick_prior(none, "item-mean")
    with pytest.raises(DataError, match="no train samples"):
        priors_for(data, bare)


def test_evaluation_knows_its_model(data: SampleSet) -> None:
    evaluation = evaluate(Taste(), data, resamples=10, name="mine")
    assert isinstance(evaluation, Evaluation)
    assert evaluation.model == evaluation.metrics["model"] == "mine"


def prepared(directory: Path, data: SourceData, name: str) -> SampleSet:
    """A prepared directory without its renderings."""
    protocol = resolve_protocol(name, data.interactions)
    samples = make_table(data.interactions, protocol, plan(protocol, SplitConfig(), LIKES), LIKES).frame()
    with write_directory(directory, KIND, config={"feedback": LIKES.model_dump()}) as staging:
        write_samples(staging, samples)
        ItemCatalog.from_items(data.items, "{title}").write(staging / ITEMS_FILE)
    return SampleSet.load(directory)


@pytest.fixture(scope="module")
def source(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    data = read_movielens(real_data / "ml-latest-small", SourceOptions())
    return prepared(tmp_path_factory.mktemp("source") / "data", data, "leave-one-out")


@pytest.fixture(scope="module")
def target(real_data: Path) -> SourceData:
    return read_movielens_100k(real_data / "ml-100k", SourceOptions())


def figures(data: SampleSet, fit: SampleSet) -> dict[str, tuple[float, float | None]]:
    found = [evaluate(scorer, data, resamples=1).metrics for scorer in priors_for(data, fit).scorers]
    return {each["model"]: (each["auc"], each["gauc"]) for each in found}


@pytest.mark.real_data
def test_published_figures_of_the_priors_on_the_movie_test(
    source: SampleSet, target: SourceData, tmp_path: Path
) -> None:
    data = prepared(tmp_path / "movie", target, "tallrec")
    assert (data.frame("test").height, data.frame("test")["user_id"].n_unique()) == (1000, 16)
    found = figures(data, source)
    assert found["prior:like-rate"] == (pytest.approx(0.7260, abs=5e-5), pytest.approx(0.541, abs=5e-4))
    assert found["prior:item-mean"] == (pytest.approx(0.678, abs=1e-3), pytest.approx(0.684, abs=1e-3))
    assert found["prior:like-rate+item-mean"][0] == pytest.approx(0.764, abs=1e-3)


@pytest.mark.real_data
def test_published_figures_of_the_priors_on_leave_one_out(
    source: SampleSet, target: SourceData, tmp_path: Path
) -> None:
    data = prepared(tmp_path / "loo", target, "leave-one-out")
    assert data.frame("test").height == data.frame("test")["user_id"].n_unique() == 943
    found = figures(data, source)
    assert found["prior:like-rate"] == (pytest.approx(0.752, abs=1e-3), None)
    assert found["prior:item-mean"][0] == pytest.approx(0.660, abs=1e-3)
    assert found["prior:like-rate+item-mean"][0] == pytest.approx(0.772, abs=1e-3)
