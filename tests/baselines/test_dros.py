"""The robust term: its dual, its limits, its weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recalign.baselines.networks.dros import nominal_weights, robust_term


def test_by_hand() -> None:
    losses, weights = torch.tensor([0.0, 1.0]), torch.tensor([3.0, 1.0])
    expected = 0.5 * math.log((3 * 1 + math.exp(1 / 0.5)) / 4)
    assert float(robust_term(losses, weights, 0.5)) == pytest.approx(expected)


def test_weights_turn_the_training_distribution_into_the_nominal_one() -> None:
    targets = ["a"] * 8 + ["b"] * 2
    weights = nominal_weights(targets, 0.5).numpy()
    a, b = weights[:8].sum(), weights[8:].sum()
    assert a / b == pytest.approx(math.sqrt(9) / math.sqrt(3))  # (c + 1) ** 0.5 of each item
    assert weights.mean() == pytest.approx(1.0)


losses_of = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(losses_of, st.floats(0.05, 10))
def test_it_lies_between_the_mean_and_the_largest_loss(losses: list[float], beta: float) -> None:
    values, weights = torch.tensor(losses), torch.ones(len(losses))
    found = float(robust_term(values, weights, beta))
    assert float(values.mean()) - 1e-5 <= found <= float(values.max()) + 1e-5


def test_a_small_beta_is_the_worst_case_and_a_large_one_the_mean() -> None:
    values, weights = torch.tensor([0.1, 0.2, 0.9]), torch.ones(3)
    assert float(robust_term(values, weights, 1e-3)) == pytest.approx(0.9, abs=2e-3)
    assert float(robust_term(values, weights, 1e4)) == pytest.approx(0.4, abs=1e-3)


@given(losses_of, st.floats(0.1, 5), st.floats(0, 2))
def test_it_is_the_dual_bound_of_every_tilted_distribution(losses: list[float], beta: float, tilt: float) -> None:
    """E_Q[l] <= beta log E_P[exp(l / beta)] + beta KL(Q || P) for every Q (Donsker and Varadhan)."""
    values = np.array(losses)
    q = np.exp(tilt * values)
    q /= q.sum()
    divergence = float((q * np.log(q * len(q))).sum())
    bound = float(robust_term(torch.tensor(losses), torch.ones(len(losses)), beta)) + beta * divergence
    assert float(q @ values) <= bound + 1e-5
