"""``prior:recent``: what a user made of all that they met, the latest first. An order, no log-odds.

For a user with a past, of which the k-th last event (k = 0, 1, …) was item i_k, liked (1) or not (0)::

    recent           = Σ exp(−k/h) (liked_k − m(i_k)) / Σ exp(−k/h)      0 for an empty past
    recent+item-mean = recent + w m(target)

with m the smoothed item mean of `recalign.baselines.priors`: liking what everybody likes says little. The past is the
user's whole one (`CandidateList.past`), not the window that models read. h = ∞ gives the plain mean.

The decay h and the weight w are chosen where the item means come from: by AUC of ``recent+item-mean`` over the
validation split of that data, whose means are counted in its train split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recalign.data.samples import CandidateList, HistoryEntry, Sample
from recalign.errors import DataError
from recalign.metrics.classification import auc, undefined_reason
from recalign.scoring.base import Scores

DECAYS: Final = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, math.inf)
WEIGHTS: Final = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


@dataclass(frozen=True)
class Recency:
    """How the ``recent`` priors weigh: decay h in events (above 0, may be infinite) and weight w of the item mean.

    `reason` says why they are the defaults, which nothing has chosen; "" where labels have chosen them.
    """

    decay: float = 6.0
    weight: float = 1.0
    reason: str = ""


def choose_recency(samples: Sequence[Sample], means: Mapping[str, float]) -> Recency:
    """The h and w of the grid with the best AUC on these samples, the smaller of equals; h goes before w.

    `means` has m of every item in the samples and their pasts.

    Raises:
        DataError: An item has no mean.
    """
    labels = [sample.label for sample in samples]
    if reason := undefined_reason(labels):
        return Recency(reason=f"{reason} in its validation split")
    recent = np.array([recent_means(sample.past, means, DECAYS) for sample in samples])
    targets = looked_up(means, [sample.item_id for sample in samples])
    found = {
        (decay, weight): auc(labels, recent[:, column] + weight * targets) or 0.0
        for column, decay in enumerate(DECAYS)
        for weight in WEIGHTS
    }
    return Recency(*max(found, key=lambda pair: found[pair]))


def recent_means(past: Sequence[HistoryEntry], means: Mapping[str, float], decays: ArrayLike) -> NDArray[np.float64]:
    """``recent`` of a past (oldest first) for each of `decays`: shape of `decays`, in [-1, 1].

    Raises:
        DataError: An item of the past has no mean.
    """
    decays = np.asarray(decays, dtype=np.float64)
    if not past:
        return np.zeros(decays.shape)
    liked = np.array([entry.liked for entry in past], dtype=np.float64)
    surprise = (liked - looked_up(means, [entry.item_id for entry in past]))[::-1]
    weights = np.exp(-np.arange(len(past)) / decays[..., np.newaxis])
    average: NDArray[np.float64] = (weights * surprise).sum(axis=-1) / weights.sum(axis=-1)
    return average


def looked_up(values: Mapping[str, float], items: Sequence[str]) -> NDArray[np.float64]:
    """The values of items, shape (n,). Raises DataError where one has none."""
    if unknown := [item for item in items if item not in values]:
        expected = f"one of its {len(values)} item ids"
        raise DataError(f"item {unknown[0]!r} is not in the catalogue", expected=expected)
    return np.array([values[item] for item in items], dtype=np.float64)


@dataclass(frozen=True)
class RecentPrior:
    """``recent`` for every item of a list, plus w times the item's mean if `with_mean`."""

    name: str
    means: Mapping[str, float]
    recency: Recency
    with_mean: bool
    log_odds = False

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score. Raises DataError where an item is not in the catalogue that the scorer was made for."""
        return Scores(tuple(self._scores(candidates) for candidates in lists))

    def _scores(self, candidates: CandidateList) -> NDArray[np.float64]:
        means = looked_up(self.means, candidates.item_ids)
        recent = recent_means(candidates.past, self.means, self.recency.decay)
        return recent + self.recency.weight * means if self.with_mean else np.full(len(means), recent)
