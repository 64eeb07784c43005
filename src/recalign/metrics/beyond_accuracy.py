"""What lists of recommendations are like beside being right: coverage, novelty, diversity, popularity bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recalign.errors import DataError


@dataclass(frozen=True, slots=True)
class Beyond:
    """Means over lists of recommendations.

    Attributes:
        coverage: Share of the catalogue that stands in some list, in [0, 1].
        novelty: -log2 of the share of users who met an item, in bits (one user is added to each item's); the mean over
            all places.
        diversity: 1 - similarity of two items of a list, the mean over its pairs; None where no list has a pair.
        popularity_bias: How many users met a recommended item, divided by how many met an item of the histories; above
            1 lists are more popular than what their users choose. None where histories are empty or unmet.
    """

    coverage: float
    novelty: float
    diversity: float | None
    popularity_bias: float | None


def beyond_accuracy(
    lists: Sequence[NDArray[np.int64]],
    histories: Sequence[NDArray[np.int64]],
    met: NDArray[np.float64],
    users: int,
    similarities: Sequence[NDArray[np.float32]],
) -> Beyond:
    """Measure lists.

    Args:
        lists: Places of the recommended items, one array per user; not all empty.
        histories: Places of the items that each user met.
        met: How many users met each item of the catalogue, shape (items,).
        users: How many users were counted.
        similarities: Per list the similarity of its items with each other, shape (n, n).

    Raises:
        DataError: There is no recommended item.
    """
    shown = np.concatenate([*lists, np.empty(0, dtype=np.int64)])
    if not len(shown):
        raise DataError("lists of recommendations", found="no item in them", expected="at least one")
    novelty = -np.log2((met[shown] + 1) / (users + 1))
    pairs = [_pairs(similarity) for similarity in similarities if len(similarity) > 1]
    chosen = [float(met[history].mean()) for history in histories if len(history)]
    own = float(np.mean(chosen)) if chosen else 0.0
    popular = float(np.mean([met[items].mean() for items in lists if len(items)]))
    return Beyond(
        coverage=len(np.unique(shown)) / len(met),
        novelty=float(novelty.mean()),
        diversity=1 - float(np.mean(pairs)) if pairs else None,
        popularity_bias=popular / own if own > 0 else None,
    )


def _pairs(similarity: NDArray[np.float32]) -> float:
    """Mean similarity of two different items."""
    return float(similarity[np.triu_indices(len(similarity), k=1)].mean())
