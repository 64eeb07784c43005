from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recalign.retrieval.diversity import diverse

ALIKE = np.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]], dtype=np.float32)
SCORES = np.array([1.0, 0.8, 0.4])


def test_alike_items_give_way() -> None:
    assert diverse(SCORES, ALIKE, 3, 0.0) == [0, 1, 2]
    assert diverse(SCORES, ALIKE, 2, 0.5) == [0, 2]  # 0.667 - 0.9 against 0 - 0.1, halved
    assert diverse(SCORES, ALIKE, 2, 0.3) == [0, 1]  # 0.7 · 0.667 - 0.27 against -0.03
    assert diverse(SCORES, ALIKE, 9, 1.0) == [0, 2, 1]


def test_equal_scores() -> None:
    assert diverse(np.zeros(3), ALIKE, 3, 0.5) == [0, 2, 1]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.integers(1, 9), st.floats(0, 1))
def test_each_item_once_and_the_best_first(scores: list[float], k: int, weight: float) -> None:
    values = np.array(sorted(scores, reverse=True))
    alike = np.exp(-np.abs(values[:, None] - values)).astype(np.float32)
    chosen = diverse(values, alike, k, weight)
    assert chosen[0] == 0
    assert len(set(chosen)) == len(chosen) == min(k, len(values))
