"""Hand-computed values, the undefined cases, agreement with counting pairs, and temperatures of odd scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.errors import DataError
from recalign.metrics.classification import (
    TEMPERATURE_RANGE,
    accuracy,
    auc,
    ece,
    fit_temperature,
    gauc,
    log_loss,
    probability,
    reliability,
    undefined_reason,
)


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


def test_ece_by_hand_with_two_bins() -> None:
    # lower bin: p 0.2, 0.4 with labels 0, 1: |0.3 - 0.5| * 2/4; upper bin: p 0.8, 1.0 with 1, 1: |0.9 - 1| * 2/4
    assert ece([0, 1, 1, 1], [0.2, 0.4, 0.8, 1.0], bins=2) == pytest.approx(0.15)


def test_ece_bins_are_closed_on_the_right() -> None:
    # 0.5 shares the lower bin with 0.1; were it in the upper one, the sum would be 0.1/2 + 0.5/2
    assert ece([0, 1], [0.1, 0.5], bins=2) == pytest.approx(abs(0.3 - 0.5))
    assert ece([0, 1], [0.0, 1.0]) == 0.0


def test_ece_of_a_constant_is_the_distance_to_the_base_rate() -> None:
    assert ece([1, 1, 1, 0], [0.5] * 4) == pytest.approx(0.25)
    assert ece([1, 1, 1, 0], [0.75] * 4) == pytest.approx(0.0)


def test_ece_uses_fifteen_bins_by_default() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random(500), rng.integers(0, 2, 500)
    assert ece(y, p) == ece(y, p, bins=15) != ece(y, p, bins=14)


def test_ece_of_nothing_is_none() -> None:
    assert ece([], []) is None


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_ece_refuses_what_is_no_probability(bad: float) -> None:
    with pytest.raises(DataError, match="probabilities"):
        ece([0, 1], [0.5, bad])
    with pytest.raises(DataError, match="bins"):
        ece([0, 1], [0.5, 0.5], bins=0)


def test_reliability_by_hand_with_two_bins() -> None:
    # 0.5 closes the lower bin, and 0 belongs to it
    found = reliability([0, 1, 1, 1, 0], [0.0, 0.5, 0.1, 0.9, 0.7], bins=2)
    assert [(count, share) for _, share, count in found] == [(3, pytest.approx(2 / 3)), (2, 0.5)]
    assert [mean for mean, _, _ in found] == pytest.approx([0.2, 0.8])


def test_reliability_leaves_out_empty_bins_and_keeps_the_order() -> None:
    found = reliability([1, 0, 1], [0.95, 0.05, 0.5], bins=10)
    assert [mean for mean, _, _ in found] == pytest.approx([0.05, 0.5, 0.95])
    assert reliability([], []) == []
    assert [count for _, _, count in reliability([1, 1], [1.0, 1.0])] == [2]


def test_reliability_has_the_bins_of_ece() -> None:
    rng = np.random.default_rng(3)
    p = np.round(rng.random(400), 2)
    y = (rng.random(400) < p**2).astype(int)
    found = reliability(y, p)
    assert sum(count for _, _, count in found) == 400
    gaps = sum(count * abs(mean - share) for mean, share, count in found) / 400
    assert ece(y, p) == pytest.approx(gaps)
    with pytest.raises(DataError, match="probabilities"):
        reliability([0, 1], [0.5, 1.5])


def test_temperature_has_the_closed_form_of_one_log_odds_value() -> None:
    # 30 of 40 samples with log-odds +2 are liked and 30 of 40 with -2 disliked. Platt's targets are 41/42 and 1/42; by
    # symmetry the optimum has sigmoid(2 / T) = mean target of the samples with log-odds +2.
    z = np.repeat([2.0, 2.0, -2.0, -2.0], [30, 10, 30, 10])
    y = np.repeat([1, 0, 0, 1], [30, 10, 30, 10])
    mean_target = (30 * 41 / 42 + 10 * 1 / 42) / 40
    assert fit_temperature(y, z) == pytest.approx(2 / math.log(mean_target / (1 - mean_target)), rel=1e-5)


def test_temperature_undoes_a_known_scale() -> None:
    rng = np.random.default_rng(1)
    true_log_odds = rng.normal(0, 1.5, 20_000)
    y = (rng.random(20_000) < probability(true_log_odds)).astype(int)
    assert fit_temperature(y, 4 * true_log_odds) == pytest.approx(4, rel=0.05)


def test_temperature_of_separable_data_is_finite_and_moderate() -> None:
    y, z = [0] * 8 + [1] * 8, np.repeat([-1.0, 1.0], 8)
    temperature = fit_temperature(y, z)
    # sigmoid(1 / T) = 9/10
    assert temperature == pytest.approx(1 / math.log(9), rel=1e-5)


def test_temperature_of_one_class_only_is_finite() -> None:
    assert fit_temperature([1, 1], [1.0, 1.0]) == pytest.approx(1 / math.log(3), rel=1e-5)


def test_temperature_of_scores_that_are_wrong_reaches_the_upper_end() -> None:
    assert fit_temperature([0] * 50 + [1] * 50, np.repeat([1.0, -1.0], 50)) == pytest.approx(
        TEMPERATURE_RANGE[1], rel=0.01
    )


def test_temperature_of_constant_zero_is_one() -> None:
    assert fit_temperature([0, 1, 1], [0.0, 0.0, 0.0]) == 1.0


def test_temperature_needs_samples_and_finite_scores() -> None:
    with pytest.raises(DataError, match="no samples"):
        fit_temperature([], [])
    with pytest.raises(DataError, match="NaN"):
        fit_temperature([0, 1], [0.0, math.nan])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-30, 30, allow_nan=False)), min_size=1, max_size=30),
)
def test_temperature_is_positive_and_within_its_range(rows: list[tuple[int, float]]) -> None:
    labels, z = [row[0] for row in rows], [row[1] for row in rows]
    temperature = fit_temperature(labels, z)
    assert TEMPERATURE_RANGE[0] <= temperature <= TEMPERATURE_RANGE[1]
    assert np.isfinite(np.array(z) / temperature).all()


def test_temperature_keeps_the_order_and_lowers_the_loss_of_overconfident_scores() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(0, 1, 500)
    y = (rng.random(500) < probability(z)).astype(int)
    scaled = 10 * z / fit_temperature(y, 10 * z)
    assert auc(y, scaled) == auc(y, z)
    before, after = log_loss(y, 10 * z), log_loss(y, scaled)
    assert before is not None
    assert after is not None
    assert after < before


def test_probability_does_not_overflow() -> None:
    assert probability([-1e4, 0.0, 1e4]).tolist() == [0.0, 0.5, 1.0]
