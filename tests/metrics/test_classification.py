"""Hand-computed values, the undefined cases, and agreement with counting pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.errors import DataError
from recalign.metrics.classification import accuracy, auc, gauc, log_loss, undefined_reason


def pair_count_auc(labels: list[int], scores: list[float]) -> float:
    """The definition: share of (liked, disliked) pairs in the right order, ties 1/2."""
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, y_a in zip(scores, labels, strict=True)
        if y_a
        for b, y_b in zip(scores, labels, strict=True)
        if not y_b
    ]
    return sum(wins) / len(wins)


def test_auc_counts_pairs_by_hand() -> None:
    # liked 0.9 and 0.4, disliked 0.5 and 0.1: three of the four pairs are in order
    assert auc([1, 0, 1, 0], [0.9, 0.5, 0.4, 0.1]) == 0.75
    assert auc([1, 0], [2.0, 1.0]) == 1.0
    assert auc([1, 0], [1.0, 2.0]) == 0.0


def test_auc_counts_ties_as_half() -> None:
    assert auc([1, 0, 1, 0], [3.0, 3.0, 3.0, 3.0]) == 0.5
    # pairs of liked 2, 1 with disliked 2, 0: tie, win, loss, win
    assert auc([1, 1, 0, 0], [2.0, 1.0, 2.0, 0.0]) == 2.5 / 4


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([], "no samples"), ([1, 1], "every label is positive"), ([0, 0, 0], "every label is negative")],
)
def test_auc_is_none_with_a_reason_where_it_is_undefined(labels: list[int], reason: str) -> None:
    assert auc(labels, [0.5] * len(labels)) is None
    assert undefined_reason(labels) == reason


def test_a_defined_auc_has_no_reason() -> None:
    assert undefined_reason([0, 1]) is None


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=40).filter(
        lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
    )
)
def test_auc_equals_the_pair_count(rows: list[tuple[int, int]]) -> None:
    labels, scores = [row[0] for row in rows], [float(row[1]) for row in rows]
    assert auc(labels, scores) == pytest.approx(pair_count_auc(labels, scores), abs=1e-12)
    assert auc(labels, [-score for score in scores]) == pytest.approx(1 - pair_count_auc(labels, scores), abs=1e-12)
    assert auc(labels, np.exp(scores)) == auc(labels, scores)  # only the order counts


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(DataError, match="1 of 2 that are NaN or infinite"):
        auc([0, 1], [0.1, bad])
    with pytest.raises(DataError, match="NaN or infinite"):
        gauc([0, 1], [0.1, bad], ["u", "u"])
    with pytest.raises(DataError, match="NaN or infinite"):
        log_loss([0, 1], [0.1, bad])


def test_labels_other_than_zero_and_one_are_an_error() -> None:
    with pytest.raises(DataError, match="neither 0 nor 1"):
        auc([0, 2], [0.1, 0.2])
    with pytest.raises(DataError, match="neither 0 nor 1"):
        auc([0, math.nan], [0.1, 0.2])


def test_shapes_must_agree() -> None:
    with pytest.raises(DataError, match="one per label"):
        auc([0, 1], [0.1])
    with pytest.raises(DataError, match="one per label"):
        gauc([0, 1], [0.1, 0.2], ["u"])
    with pytest.raises(DataError, match="one label per sample"):
        auc([[0, 1]], [[0.1, 0.2]])


def test_gauc_is_the_unweighted_mean_over_users_with_both_classes() -> None:
    labels = [1, 0, 1, 0, 0, 1, 1, 1]
    scores = [2.0, 1.0, 0.0, 5.0, 4.0, 4.0, 9.0, 8.0]
    users = ["a", "a", "b", "b", "b", "b", "c", "c"]
    # a: 1. b: liked 0, 4 against disliked 5, 4: loss, loss, loss, tie = 0.5 / 4. c has liked ones only.
    result = gauc(labels, scores, users)
    assert result.value == (1 + 0.125) / 2
    assert result.counts == {"users": 2}
    assert result.reason == ""


def test_gauc_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(3)
    labels, scores, users = rng.integers(0, 2, 200), rng.integers(0, 9, 200) / 2, rng.integers(0, 20, 200)
    shuffled = rng.permutation(200)
    assert gauc(labels, scores, users) == gauc(labels[shuffled], scores[shuffled], users[shuffled])
    by_hand = [
        pair_count_auc(list(labels[users == user]), list(scores[users == user]))
        for user in range(20)
        if 0 < labels[users == user].mean() < 1
    ]
    assert gauc(labels, scores, users).value == pytest.approx(np.mean(by_hand), abs=1e-12)


def test_gauc_without_such_users_is_none_with_a_reason() -> None:
    result = gauc([1, 0, 0], [1.0, 2.0, 3.0], ["a", "b", "b"])
    assert (result.value, result.counts) == (None, {"users": 0})
    assert result.reason == "none of the 2 users has both classes"
    assert gauc([], [], []).reason == "no samples"


def test_log_loss_by_hand() -> None:
    assert log_loss([1, 0], [0.0, 0.0]) == pytest.approx(math.log(2))
    # p = 3/4 for a liked sample, p = 1/5 for a disliked one
    assert log_loss([1, 0], [math.log(3), math.log(1 / 4)]) == pytest.approx(-(math.log(3 / 4) + math.log(4 / 5)) / 2)
    assert log_loss([], []) is None


def test_log_loss_of_extreme_log_odds_stays_exact() -> None:
    assert log_loss([1], [-1000.0]) == 1000.0
    assert log_loss([1], [1000.0]) == 0.0


def test_accuracy_takes_exactly_one_half_as_not_liked() -> None:
    assert accuracy([1, 0, 1, 0], [0.3, -0.3, -2.0, 0.0]) == 0.75
    assert accuracy([1], [0.0]) == 0.0
    assert accuracy([], []) is None
