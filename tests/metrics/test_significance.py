"""The bootstrap against resampling spelled out, pairing, Holm by hand, speed."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from recalign.errors import DataError
from recalign.metrics.classification import auc, gauc
from recalign.metrics.significance import (
    Interval,
    PairedDifference,
    Statistic,
    _interval,
    bootstrap_ci,
    holm,
    mean_sd,
    paired_bootstrap,
)
from recalign.seeding import generator


def scores(n: int, users: int, seed: int, signal: float = 1.0, ties: int = 1) -> pl.DataFrame:
    """A score file in which liked samples score higher by `signal`; `seed` moves the scores only."""
    fixed = np.random.default_rng(99)
    label, user = fixed.integers(0, 2, n), fixed.permutation(np.arange(n) % users)
    noise = np.random.default_rng(seed).normal(size=n)
    return pl.DataFrame(
        {
            "sample_id": [f"s{i:06d}" for i in range(n)],
            "user_id": [f"u{u:05d}" for u in user],
            "label": label,
            "score": np.round(signal * label + noise, ties),
        }
    )


def spelled_out(statistic: Statistic, frame: pl.DataFrame, n_resamples: int, seed: int) -> list[float]:
    """The same draws, each resample written out as a table with its users repeated."""
    names = sorted(set(frame["user_id"]))
    draws = generator(seed, "user-bootstrap").multinomial(len(names), np.full(len(names), 1 / len(names)), n_resamples)
    result = []
    for draw in draws:
        rows = [
            (row["label"], row["score"], f"{name}/{copy}")
            for name, times in zip(names, draw, strict=True)
            for copy in range(times)
            for row in frame.filter(pl.col("user_id") == name).iter_rows(named=True)
        ]
        label, score, user = zip(*rows, strict=True)
        value = auc(label, score) if statistic == "auc" else gauc(label, score, user).value
        if value is not None:
            result.append(value)
    return result


@pytest.mark.parametrize("statistic", ["auc", "gauc"])
def test_interval_equals_the_one_of_written_out_resamples(statistic: Statistic) -> None:
    frame = scores(60, 9, seed=0)
    interval = bootstrap_ci(statistic, frame, n_resamples=40, seed=5)
    expected = spelled_out(statistic, frame, 40, 5)
    assert interval is not None
    assert interval.resamples == len(expected)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=1e-12)


def test_interval_does_not_depend_on_the_order_of_rows_and_depends_on_the_seed() -> None:
    frame = scores(200, 20, seed=0)
    assert bootstrap_ci("auc", frame, n_resamples=200) == bootstrap_ci(
        "auc", frame.sample(fraction=1, shuffle=True, seed=1), n_resamples=200
    )
    assert bootstrap_ci("auc", frame, n_resamples=200) != bootstrap_ci("auc", frame, n_resamples=200, seed=1)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = scores(100, 10, seed=0)
    whole = bootstrap_ci("auc", frame, n_resamples=50)
    monkeypatch.setattr("recalign.metrics.significance._CHUNK_CELLS", 700)
    assert bootstrap_ci("auc", frame, n_resamples=50) == whole


def test_clustering_by_user_widens_the_interval_where_users_differ() -> None:
    # Ten users with a taste of their own, 100 equal samples each: worth ten samples, not a thousand.
    label = np.repeat([0, 1] * 5, 100)
    score = np.repeat([0, 1, 1, 2, 0, 3, 2, 1, 0, 2], 100)
    frame = pl.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(1000)],
            "user_id": np.repeat([f"u{i}" for i in range(10)], 100),
            "label": label,
            "score": score.astype(float),
        }
    )
    clustered = bootstrap_ci("auc", frame)
    independent = bootstrap_ci("auc", frame.with_columns(user_id=pl.col("sample_id")))
    assert clustered is not None
    assert independent is not None
    assert clustered.high - clustered.low > 3 * (independent.high - independent.low)


def test_interval_is_none_for_one_user_and_where_resamples_are_mostly_undefined() -> None:
    assert bootstrap_ci("auc", scores(50, 1, seed=0)) is None
    assert paired_bootstrap("auc", scores(50, 1, seed=0), scores(50, 1, seed=1)).interval is None  # type: ignore[union-attr]
    one_each = scores(30, 30, seed=0)
    assert bootstrap_ci("gauc", one_each) is None
    assert paired_bootstrap("gauc", one_each, one_each) is None


def test_undefined_resamples_are_left_out_and_counted() -> None:
    frame = pl.DataFrame(
        {"sample_id": list("abcd"), "user_id": list("abcd"), "label": [1, 1, 1, 0], "score": [4.0, 3.0, 1.0, 2.0]}
    )
    interval = bootstrap_ci("auc", frame, n_resamples=400)
    assert interval is not None
    # the only disliked sample is missing from (3/4)^4 = 32 % of the resamples
    assert 0.6 < interval.resamples / 400 < 0.76


@pytest.mark.parametrize(("defined", "there"), [(0, False), (3, False), (4, False), (5, True), (8, True)])
def test_there_is_an_interval_where_more_than_half_of_the_replicates_are_defined(defined: int, there: bool) -> None:
    replicates = np.array([0.5] * defined + [np.nan] * (8 - defined))
    interval = _interval(replicates)
    assert interval == (Interval(0.5, 0.5, defined) if there else None)


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [(0.1, 0.2, True, False), (-0.1, 0.2, False, False), (0.0, 0.2, False, False), (-0.2, 0.0, False, False),
     (-0.2, -0.1, False, True)],
)  # fmt: skip
def test_a_difference_is_above_or_below_zero_with_its_whole_interval(
    low: float, high: float, above: bool, below: bool
) -> None:
    difference = PairedDifference(0.1, Interval(low, high, 10), 0.5)
    assert (difference.above_zero, difference.below_zero) == (above, below)
    assert not PairedDifference(0.1, None, None).above_zero
    assert not PairedDifference(-0.1, None, None).below_zero


def test_equal_models_differ_by_nothing() -> None:
    frame = scores(100, 10, seed=0)
    result = paired_bootstrap("auc", [frame, frame, frame], frame)
    assert result is not None
    assert result.difference == 0.0
    assert result.p_value == 1.0
    assert not result.above_zero


def test_a_clear_difference_is_found_in_both_directions() -> None:
    strong, weak = scores(400, 40, seed=0, signal=2.0), scores(400, 40, seed=1, signal=0.2)
    better, worse = paired_bootstrap("auc", strong, weak), paired_bootstrap("auc", weak, strong)
    assert better is not None
    assert worse is not None
    assert better.above_zero
    assert not worse.above_zero
    assert better.difference == pytest.approx(auc(strong["label"], strong["score"]) - auc(weak["label"], weak["score"]))  # type: ignore[operator]
    assert better.p_value == worse.p_value == pytest.approx(2 / 2001)
    assert (better.interval.low, better.interval.high) == pytest.approx((-worse.interval.high, -worse.interval.low))  # type: ignore[union-attr]


def test_p_values_of_equally_good_models_are_spread_out() -> None:
    p_values = [
        paired_bootstrap("auc", scores(200, 20, 2 * i), scores(200, 20, 2 * i + 1), n_resamples=200).p_value  # type: ignore[union-attr]
        for i in range(60)
    ]
    assert sum(p < 0.05 for p in p_values if p is not None) <= 9  # expected 3 of 60


def test_pairing_is_by_sample_id_not_by_row() -> None:
    a, b = scores(100, 10, seed=0), scores(100, 10, seed=1)
    assert paired_bootstrap("auc", a, b.reverse()) == paired_bootstrap("auc", a, b)


def test_several_seeds_are_averaged() -> None:
    seeds, other = [scores(100, 10, seed=s) for s in range(3)], scores(100, 10, seed=9)
    result = paired_bootstrap("auc", seeds, other, n_resamples=10)
    values = [auc(frame["label"], frame["score"]) for frame in seeds]
    assert result is not None
    assert result.difference == pytest.approx(np.mean(values) - auc(other["label"], other["score"]))  # type: ignore[arg-type, operator]


def test_frames_on_other_samples_are_refused() -> None:
    frame = scores(20, 4, seed=0)
    with pytest.raises(DataError, match="20 and 19 samples, 19 in common"):
        paired_bootstrap("auc", frame, frame.head(19))
    with pytest.raises(DataError, match="column label"):
        paired_bootstrap("auc", frame, frame.with_columns(label=1 - pl.col("label")))
    with pytest.raises(DataError, match="column user_id"):
        paired_bootstrap("auc", frame, frame.with_columns(user_id=pl.lit("x")))
    with pytest.raises(DataError, match="1 repeated sample ids"):
        bootstrap_ci("auc", pl.concat([frame, frame.head(1)]))
    with pytest.raises(DataError, match="no column score"):
        bootstrap_ci("auc", frame.drop("score"))
    with pytest.raises(DataError, match="NaN"):
        bootstrap_ci("auc", frame.with_columns(score=float("nan")))


def test_bad_options_are_refused() -> None:
    with pytest.raises(DataError, match="resamples"):
        bootstrap_ci("auc", scores(20, 4, seed=0), n_resamples=0)
    with pytest.raises(DataError, match="statistic"):
        bootstrap_ci("ndcg", scores(20, 4, seed=0))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least one"):
        bootstrap_ci("auc", [])


def test_an_empty_frame_has_no_interval() -> None:
    assert bootstrap_ci("auc", scores(4, 2, seed=0).head(0)) is None


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, made monotone
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
    with pytest.raises(DataError, match="p-values"):
        holm([0.5, float("nan")])


def test_mean_and_sd_over_seeds() -> None:
    assert mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_sd([0.5]) == (0.5, None)
    with pytest.raises(DataError):
        mean_sd([])


@pytest.mark.parametrize("users", [16, 943])
def test_two_thousand_resamples_take_less_than_two_seconds(users: int) -> None:
    a, b = scores(1000, users, seed=0, ties=6), scores(1000, users, seed=1, ties=6)
    start = time.process_time()
    paired_bootstrap("auc", a, b, n_resamples=2000)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("statistic", ["auc", "gauc", "mean"])
def test_frames_of_several_orders_count_as_their_mean_and_need_not_share_samples(statistic: Statistic) -> None:
    """Two orders of one user's events hold different samples; users are resampled together."""
    first = scores(120, 20, seed=0).with_columns(order=pl.lit(0))
    second = scores(100, 20, seed=1).with_columns(pl.format("t{}", "sample_id").alias("sample_id"), order=pl.lit(7))
    both = bootstrap_ci(statistic, [first, second], n_resamples=300)
    alone = [bootstrap_ci(statistic, frame, n_resamples=300) for frame in (first, second)]
    assert both is not None
    assert all(interval is not None for interval in alone)
    assert both.high - both.low < max(each.high - each.low for each in alone if each is not None)
    other = [frame.with_columns(pl.col("score") * 0.5 + 1) for frame in (first, second)]
    paired = paired_bootstrap(statistic, [first, second], other[::-1], n_resamples=50)
    separate = [paired_bootstrap(statistic, *pair, n_resamples=50) for pair in zip((first, second), other, strict=True)]
    assert paired is not None
    mean = np.mean([each.difference for each in separate if each is not None])
    assert paired.difference == pytest.approx(mean, rel=1e-9, abs=1e-12)


def test_orders_of_one_model_are_those_of_the_other() -> None:
    first = scores(60, 9, seed=0)
    with pytest.raises(DataError, match=r"orders \[0\] and \[0, 1\]"):
        paired_bootstrap("auc", first, [first, first.with_columns(order=pl.lit(1))])
    moved = first.with_columns(pl.format("t{}", "sample_id").alias("sample_id"))
    with pytest.raises(DataError, match="60 and 60 samples, 0 in common"):  # of one order: the same samples
        bootstrap_ci("auc", [first, moved])
