"""Metrics of rows on scores that are made up: over seeds, with intervals, or with the reason why not."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from recalign.errors import DataError
from recalign.evaluation.metric import METRICS, UNSEEN_TITLES, Metric, Observed, Value
from recalign.evaluation.rows import RowScores, TestSettings, measure_row
from recalign.evaluation.score import NO_LOG_ODDS
from recalign.evaluation.score_file import ScoreFile, Temperature

from .made_up import EACH, TESTED, USERS, frame, lists, rows, sampled, scored, tuned


def test_means_are_over_seeds_and_intervals_hold_them() -> None:
    (row,) = rows((tuned("M"), scored(0.5, 0.8, 0.2)))
    value = row.row.metrics["auc"]
    assert value.mean is not None
    assert value.ci is not None
    assert value.ci[0] < value.mean < value.ci[1]
    assert (value.n, value.sd is not None) == (3, True)
    (single,) = rows((tuned("M"), scored(0.5)))
    assert single.row.metrics["auc"].sd is None


def test_metrics_of_probabilities_need_probabilities() -> None:
    (order,) = rows((tuned("M"), scored(0.5, log_odds=False)))
    needing = {name for name, metric in METRICS.all() if metric.needs_log_odds}
    assert {"logloss", "ece", "accuracy", "temperature", "logloss-calibrated", "ece-calibrated"} <= needing
    for name in needing:
        assert (order.row.metrics[name].mean, order.row.metrics[name].reason) == (None, NO_LOG_ODDS)
    assert order.row.reliability == ()
    assert order.row.mean("auc") is not None
    (odds,) = rows((tuned("M"), scored(0.5, 0.4)))
    assert odds.row.mean("logloss") is not None
    assert sum(each.count for each in odds.row.reliability) == 2 * USERS * EACH, "bins are over all seeds"


def test_unseen_titles_are_their_own_metric_and_may_be_none() -> None:
    some = TestSettings(100, subsets={UNSEEN_TITLES: frozenset(f"s{index:04}" for index in range(8))})
    values = scored(3.0)
    assert measure_row(tuned("M"), values, some).mean("unseen-auc") is not None
    one_class = TestSettings(100, subsets={UNSEEN_TITLES: frozenset({"s0000", "s0001"})})
    estimate = measure_row(tuned("M"), values, one_class).metrics["unseen-auc"]
    assert (estimate.mean, estimate.reason) == (None, "every label is positive")
    assert "unseen-auc" not in measure_row(tuned("M"), values, TestSettings(100)).metrics


def test_parts_of_one_order_are_pooled_and_orders_are_averaged() -> None:
    files = [
        ScoreFile(frame(signal, place).with_columns(pl.format(f"{place}-{{}}", "sample_id").alias("sample_id"),
                  item_id=pl.lit("i"), model=pl.lit("m"), seed=pl.lit(0)), True, "test", "d")
        for place, signal in enumerate((0.5, 0.8, 0.2, 0.4))
    ]  # fmt: skip
    one, two = (RowScores.of([files[:2]], orders=[4, 4]), RowScores.of([files[2:]], orders=[9, 9]))
    both = RowScores.of([files], orders=[4, 4, 9, 9])
    values = [measure_row(tuned("M"), scores, TESTED).metrics["auc"] for scores in (one, two, both)]
    assert [value.n for value in values] == [1, 1, 2]
    assert values[2].mean == pytest.approx(((values[0].mean or 0) + (values[1].mean or 0)) / 2, rel=1e-5)
    assert values[2].sd is not None
    assert len(measure_row(tuned("M"), both, TESTED).user_auc) == USERS


def test_per_user_aucs_are_averaged_over_seeds_and_leave_out_users_of_one_label() -> None:
    first, second = frame(9.0, users=3), frame(-9.0, users=3).sample(fraction=1.0, shuffle=True, seed=1)
    one_label = pl.col("user_id") == "u1"
    first, second = (
        sampled(each.with_columns(pl.when(one_label).then(1).otherwise(pl.col("label")).cast(pl.Int8).alias("label")))
        for each in (first, second)
    )
    row = measure_row(tuned("M"), RowScores((first, second), log_odds=True), TESTED)
    assert row.user_auc == (0.5, 0.5), "1 with one seed, 0 with the other"


def test_what_is_undefined_says_why() -> None:
    liked_only = sampled(frame(0.5, users=2).filter(pl.col("label") == 1))
    row = measure_row(tuned("M"), RowScores((liked_only,), log_odds=True), TESTED)
    assert (row.mean("auc"), row.metrics["auc"].reason) == (None, "every label is positive")
    assert row.metrics["gauc"].reason == "none of the 2 users has both classes"
    one_user = sampled(frame(0.5, users=1))
    row = measure_row(tuned("M"), RowScores((one_user,), log_odds=True), TESTED)
    assert row.mean("auc") is not None
    assert (row.metrics["auc"].ci, row.metrics["auc"].reason) == (None, "fewer than two users")
    one_disliked = sampled(
        pl.DataFrame({"sample_id": ["a", "b"], "user_id": ["a", "b"], "label": [1, 0], "score": [1.0, 0.0]})
    )
    row = measure_row(tuned("M"), RowScores((one_disliked,), log_odds=True), TESTED)
    assert row.metrics["auc"].reason == "most resamples are undefined"


def test_a_metric_that_is_undefined_for_one_seed_has_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    def best_above(observed: Observed) -> Value:
        best = observed.frame["score"].max()
        return Value(1.0) if isinstance(best, float) and best > 9 else Value(None, "nothing above 9")

    metric = Metric("Above", "Whether anything is above 9.", best_above)
    monkeypatch.setattr("recalign.evaluation.rows.ordered_metrics", lambda: [("above", metric)])
    high, low = scored(30.0), scored(0.1)
    both = RowScores((*high.samples, *low.samples), log_odds=True)
    found = [measure_row(tuned("M"), scores, TESTED).metrics["above"] for scores in (high, low, both)]
    assert [(estimate.mean, estimate.reason) for estimate in found] == [
        (1.0, ""), (None, "nothing above 9"), (None, "nothing above 9"),
    ]  # fmt: skip


def score_file(signal: float, temperature: Temperature, seed: int = 0) -> ScoreFile:
    whole = frame(signal, seed).with_columns(item_id=pl.lit("i"), model=pl.lit("m"), seed=pl.lit(seed))
    return ScoreFile(whole, True, "test", "data", temperature=temperature)


def test_each_fold_is_calibrated_with_its_own_temperature() -> None:
    first, second = score_file(1.0, Temperature(2.0)), score_file(1.0, Temperature(0.5), seed=1)
    renamed = second.frame.with_columns(
        pl.concat_str(pl.lit("x"), name).alias(name) for name in ("sample_id", "user_id")
    )
    second = dataclasses.replace(second, frame=renamed)
    row = measure_row(tuned("M"), RowScores.of([[first, second]]), TESTED)
    by_hand = pl.concat([first.frame.with_columns(pl.col("score") / 2), renamed.with_columns(pl.col("score") * 2)])
    plain = measure_row(tuned("M"), RowScores((sampled(by_hand),), log_odds=True), TESTED)
    assert row.mean("temperature") == 1.25
    assert row.mean("logloss-calibrated") == plain.mean("logloss")
    assert row.mean("ece-calibrated") == plain.mean("ece")
    assert row.mean("logloss") != row.mean("logloss-calibrated")
    none = RowScores.of([[first, dataclasses.replace(second, temperature=Temperature(reason="strict-k"))]])
    estimate = measure_row(tuned("M"), none, TESTED).metrics["logloss-calibrated"]
    assert (estimate.mean, estimate.reason) == (None, "strict-k")


def test_scores_are_log_odds_where_those_of_all_seeds_and_folds_are() -> None:
    odds = score_file(1.0, Temperature())
    order = dataclasses.replace(odds, log_odds=False)
    assert [RowScores.of([[first], [second]]).log_odds for first, second in ((odds, odds), (odds, order))] == [
        True, False,
    ]  # fmt: skip
    assert not RowScores.of([]).log_odds


def test_a_file_of_samples_is_no_file_of_candidates() -> None:
    scores = score_file(1.0, Temperature())
    with pytest.raises(DataError, match="a row per sample; expected a row per ranking candidate"):
        RowScores.of([[scores]], [[scores]])


def test_ranking_is_over_lists() -> None:
    (row,) = rows((tuned("M"), scored(0.5, ranking=[lists([0.2, 0.4]), lists([0.6, 0.8])])))
    assert row.row.metrics["ndcg"].mean == row.row.metrics["mrr"].mean == pytest.approx(0.5)
    assert row.row.metrics["recall"].sd == pytest.approx(0.4 / 2**0.5, rel=1e-5)
    assert "ndcg" not in rows((tuned("M"), scored(0.5)))[0].row.metrics
