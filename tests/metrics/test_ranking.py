"""Ranking metrics by hand, ties against all orders written out, the random ranker, intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.errors import DataError
from recalign.metrics.ranking import (
    RankingMetric,
    as_frame,
    candidate_values,
    labelled_ndcg,
    random_ranker,
)
from recalign.metrics.significance import bootstrap_ci, paired_bootstrap


def candidates(*lists: Sequence[float], truth: int = 0, users: Sequence[str] = ()) -> pl.DataFrame:
    """Lists of scores; the truth of each is the item at place `truth`."""
    rows = [
        (f"s{number:03d}", users[number] if users else f"u{number:03d}", f"i{place}", int(place == truth), float(score))
        for number, scores in enumerate(lists)
        for place, score in enumerate(scores)
    ]
    return pl.DataFrame(rows, schema=["sample_id", "user_id", "item_id", "label", "score"], orient="row")


def metric_frame(values: pl.DataFrame, metric: RankingMetric) -> pl.DataFrame:
    return as_frame(values["sample_id"], values["user_id"], values[metric])


def labelled(**users: Sequence[tuple[int, float]]) -> pl.DataFrame:
    """(label, score) of each user's items."""
    rows = [
        (f"{user}{place}", user, label, float(score))
        for user, items in users.items()
        for place, (label, score) in enumerate(items)
    ]
    return pl.DataFrame(rows, schema=["sample_id", "user_id", "label", "score"], orient="row")


def test_candidate_metrics_by_hand() -> None:
    first = [3.0, *range(-20, 0)]
    third = [0.5, 2, 1, *range(-20, 0)]
    eleventh = [0.0, *range(1, 11), -1]
    values = candidate_values(candidates(first, third, eleventh))
    assert values["sample_id"].to_list() == ["s000", "s001", "s002"]
    assert values["user_id"].to_list() == ["u000", "u001", "u002"]
    assert values["ndcg"].to_list() == pytest.approx([1.0, 1 / math.log2(4), 0.0])
    assert values["recall"].to_list() == [1.0, 1.0, 0.0]
    assert values["mrr"].to_list() == pytest.approx([1.0, 1 / 3, 1 / 11])


def test_a_tie_counts_as_the_mean_of_its_places_by_hand() -> None:
    # one item above; truth and two others tie on places 2, 3, 4
    [row] = candidate_values(candidates([1.0, 1, 1, 2, 0])).to_dicts()
    assert row["ndcg"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(4) + 1 / math.log2(5)) / 3)
    assert row["recall"] == pytest.approx(1.0)
    assert row["mrr"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    # nine above, so that places 10 and 11 are shared: half of the orders hit
    [row] = candidate_values(candidates([0.0, 0, *range(1, 10)])).to_dicts()
    assert row["recall"] == pytest.approx(0.5)
    assert row["ndcg"] == pytest.approx(0.5 / math.log2(11))
    assert row["mrr"] == pytest.approx((1 / 10 + 1 / 11) / 2)


def test_the_random_ranker_over_51_candidates_has_ndcg_0_089() -> None:
    by_formula = sum(1 / math.log2(place + 1) for place in range(1, 11)) / 51
    chance = random_ranker(51)
    assert chance["ndcg"] == pytest.approx(by_formula)
    assert round(by_formula, 3) == 0.089
    assert chance["recall"] == pytest.approx(10 / 51)
    assert chance["mrr"] == pytest.approx(sum(1 / place for place in range(1, 52)) / 51)
    [constant] = candidate_values(candidates([0.7] * 51, truth=20)).to_dicts()
    assert {name: constant[name] for name in chance} == pytest.approx(chance)
    rng = np.random.default_rng(0)
    drawn = candidate_values(candidates(*rng.random((4000, 51))))
    assert drawn["ndcg"].mean() == pytest.approx(by_formula, abs=0.01)
    with pytest.raises(DataError, match="at least 1"):
        random_ranker(0)


def over_orders(items: Sequence[tuple[int, float]], cutoff: int) -> tuple[float, float]:
    """Mean DCG and mean recall over all orders that the scores allow (equal scores in any order)."""
    orders = [o for o in itertools.permutations(items) if all(a[1] >= b[1] for a, b in itertools.pairwise(o))]
    dcg = [sum(label / math.log2(r + 2) for r, (label, _) in enumerate(order[:cutoff])) for order in orders]
    hits = [sum(label for label, _ in order[:cutoff]) for order in orders]
    return sum(dcg) / len(orders), sum(hits) / len(orders)


@given(
    items=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=2, max_size=6),
    cutoff=st.integers(1, 6),
)
def test_ties_equal_the_mean_over_all_orders(items: list[tuple[int, float]], cutoff: int) -> None:
    liked = sum(label for label, _ in items)
    result = labelled_ndcg(labelled(a=items), cutoff=cutoff)
    if 0 < liked < len(items):
        ideal = sum(1 / math.log2(r + 2) for r in range(min(cutoff, liked)))
        assert result.value == pytest.approx(over_orders(items, cutoff)[0] / ideal)
    else:
        assert result.value is None
    if liked == 1:
        place = [label for label, _ in items].index(1)
        values = candidate_values(candidates([score for _, score in items], truth=place), cutoff=cutoff)
        assert (values["ndcg"][0], values["recall"][0]) == pytest.approx(over_orders(items, cutoff))


def test_the_order_of_rows_and_the_other_lists_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    frame = candidates(*rng.integers(0, 5, (12, 20)))
    whole = candidate_values(frame)
    assert candidate_values(frame.sample(fraction=1, shuffle=True, seed=1)).equals(whole)
    assert candidate_values(frame.filter(pl.col("sample_id") == "s004")).row(0) == whole.row(4)


def test_labelled_lists_by_hand() -> None:
    frame = labelled(
        ann=[(1, 0.9), (0, 0.8), (1, 0.7)],  # places 1 and 3
        bob=[(0, 0.9), (1, 0.1)],  # place 2
        cid=[(0, 0.5), (0, 0.4)],  # no liked item
        dan=[(1, 0.2)],  # any order is the best
    )
    result = labelled_ndcg(frame)
    ann = (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert result.value == pytest.approx((ann + 1 / math.log2(3) + 1) / 3)
    assert (result.counts, result.reason) == ({"users": 3, "excluded": 1}, "")
    assert result.lists is not None
    assert result.lists["user_id"].to_list() == ["ann", "bob", "dan"]
    assert result.lists["score"].to_list() == pytest.approx([ann, 1 / math.log2(3), 1.0])


def test_more_liked_items_than_places_can_be_perfect() -> None:
    items = [(1, float(20 - i)) for i in range(12)] + [(0, float(-i)) for i in range(3)]
    assert labelled_ndcg(labelled(a=items)).value == pytest.approx(1.0)
    assert labelled_ndcg(labelled(a=[(label, -score) for label, score in items])).value < 0.9  # type: ignore[operator]


@pytest.mark.parametrize(
    ("users", "reason", "counted", "excluded"),
    [
        ({}, "no samples", 0, 0),
        ({"a": [(0, 1.0)], "b": [(0, 1.0)]}, "no user has a liked item", 0, 2),
        ({"a": [(1, 1.0)], "b": [(0, 1.0)]}, "one item each, so every order is the best one", 1, 1),
        ({"a": [(1, 1.0), (1, 2.0)]}, "liked items only, so every order is the best one", 1, 0),
    ],
)
def test_what_says_nothing_is_null_with_a_reason(
    users: dict[str, list[tuple[int, float]]], reason: str, counted: int, excluded: int
) -> None:
    frame = labelled(**users) if users else labelled(a=[(1, 1.0)]).head(0)
    result = labelled_ndcg(frame)
    assert result.value is None
    assert reason in str(result.reason)
    assert result.counts == {"users": counted, "excluded": excluded}
    assert result.lists is not None
    assert result.lists.is_empty()


@pytest.mark.parametrize("metric", ["ndcg", "recall", "mrr"])
def test_intervals_resample_users_with_all_their_lists(metric: RankingMetric) -> None:
    rng = np.random.default_rng(5)
    users = [f"u{number // 4}" for number in range(80)]  # twenty users, four equal lists each
    scores = np.repeat(rng.random((20, 51)), 4, axis=0)
    values = metric_frame(candidate_values(candidates(*scores, users=users)), metric)
    clustered = bootstrap_ci("mean", values, n_resamples=500)
    twenty = metric_frame(candidate_values(candidates(*scores[::4])), metric)
    once = bootstrap_ci("mean", twenty, n_resamples=500)
    independent = bootstrap_ci("mean", values.with_columns(user_id=pl.col("sample_id")), n_resamples=500)
    assert clustered is not None
    assert once is not None
    assert independent is not None
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high), abs=0.02)
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)
    assert clustered.low < values["score"].mean() < clustered.high  # type: ignore[operator]


def test_two_rankers_are_compared_on_the_same_lists() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(120, 51))
    good, bad = noise.copy(), noise.copy()
    good[:, 0] += 2.0
    first, second = (metric_frame(candidate_values(candidates(*each)), "ndcg") for each in (good, bad))
    result = paired_bootstrap("mean", first, second, n_resamples=300)
    assert result is not None
    assert result.above_zero
    assert result.difference == pytest.approx(first["score"].mean() - second["score"].mean())  # type: ignore[operator]
    same = paired_bootstrap("mean", first, [first, first], n_resamples=300)
    assert same is not None
    assert (same.difference, same.p_value) == (0.0, 1.0)
    with pytest.raises(DataError, match="120 and 119 samples"):
        paired_bootstrap("mean", first, second.head(119))


def test_broken_lists_are_refused() -> None:
    frame = candidates([1.0, 0.0], [1.0, 0.0])
    with pytest.raises(DataError, match="2 lists without exactly one truth"):
        candidate_values(frame.with_columns(label=1))
    with pytest.raises(DataError, match="1 items that repeat"):
        candidate_values(pl.concat([frame, frame.head(1)]))
    with pytest.raises(DataError, match="NaN"):
        candidate_values(frame.with_columns(score=float("nan")))
    with pytest.raises(DataError, match="no rows"):
        candidate_values(frame.head(0))
    with pytest.raises(DataError, match="no column item_id"):
        candidate_values(frame.drop("item_id"))
