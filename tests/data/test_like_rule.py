"""The logistic regression that says what counts alone expect."""

from __future__ import annotations

import numpy as np
import pytest

from recalign.data.like_rule import LikeRule
from recalign.errors import DataError
from recalign.seeding import generator

WEIGHTS, BIAS = np.array([1.5, -0.7, 0.0]), 0.4


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(0, "like-rule-test")
    features = rng.normal(size=(n, 3)) * np.array([1.0, 5.0, 0.2]) + np.array([0.0, 3.0, -1.0])
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    return features, (rng.random(n) < 1 / (1 + np.exp(-(scaled @ WEIGHTS + BIAS)))).astype(np.float64)


def test_a_fit_finds_the_weights_that_likes_were_drawn_with() -> None:
    rule = LikeRule.fit(*drawn(40_000))
    assert rule is not None
    np.testing.assert_allclose(rule.weights, WEIGHTS, atol=0.05)
    assert rule.bias == pytest.approx(BIAS, abs=0.05)


def test_expectations_are_as_frequent_as_likes() -> None:
    features, likes = drawn(5_000)
    rule = LikeRule.fit(features, likes)
    assert rule is not None
    expected = rule(features)
    assert ((expected > 0) & (expected < 1)).all()
    assert expected.mean() == pytest.approx(likes.mean(), rel=1e-6)
    upper = expected > np.median(expected)
    assert likes[upper].mean() == pytest.approx(expected[upper].mean(), abs=0.03)


def test_a_feature_that_never_varies_weighs_nothing() -> None:
    features, likes = drawn(500)
    rule = LikeRule.fit(np.column_stack([features, np.full(500, 7.0)]), likes)
    assert rule is not None
    assert rule.weights[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("likes", [np.zeros(0), np.ones(5), np.zeros(5)])
def test_of_one_kind_of_likes_there_is_nothing_to_learn(likes: np.ndarray) -> None:
    assert LikeRule.fit(np.ones((len(likes), 2)), likes) is None


def test_a_rule_is_read_as_it_was_written() -> None:
    rule = LikeRule.fit(*drawn(500))
    assert rule is not None
    assert LikeRule.from_json(rule.to_json()) == rule
    for text in ("", "[]", '{"weights": [1]}', '{"weights": "x", "bias": 0, "means": [], "scales": []}'):
        with pytest.raises(DataError, match="rule of likes"):
            LikeRule.from_json(text)
