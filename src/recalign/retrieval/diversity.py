"""Maximal marginal relevance: items that are good, and not all alike (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def diverse(scores: NDArray[np.float64], similarity: NDArray[np.float32], k: int, weight: float) -> list[int]:
    """Choose `k` items one after the other: (1 - weight) · score - weight · similarity to the most alike one chosen.

    Args:
        scores: Shape (n,), the best first; brought to [0, 1] before they are weighed.
        similarity: Shape (n, n), 1 for equal items.
        k: How many; all where there are fewer.
        weight: 0 keeps the order of the scores; 1 looks at nothing but difference, after the first item.

    Returns:
        Places of the items, in the order in which they were chosen. Of equally good ones the first is taken.
    """
    spread = float(scores.max() - scores.min())
    worth = (1 - weight) * (scores - scores.min()) / (spread if spread > 0 else 1.0)
    nearest = np.zeros(len(scores))
    left = np.ones(len(scores), dtype=np.bool_)
    chosen: list[int] = []
    while left.any() and len(chosen) < k:
        place = int(np.argmax(np.where(left, worth - weight * nearest, -np.inf))) if chosen else 0
        chosen.append(place)
        left[place] = False
        nearest = np.maximum(nearest, similarity[place])
    return chosen
