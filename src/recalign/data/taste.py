"""A user's taste: what their own ratings let one expect of other items, by a Gaussian process over likeness of items.

Two items are alike when they share genres, are of about the same year, were met by about as many people and are thought
of alike by others. What is predicted is how far above or below the opinion of others the user ranks an item: the
posterior mean given all of the user's events (C. E. Rasmussen, C. K. I. Williams: Gaussian Processes for Machine
Learning, 2006, eq. 2.23). Its scales were chosen on held-out source users (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry

UNKNOWN_YEAR: Final = -1e6
_YEARS: Final = 8.0  # as far apart, items are alike by 1/e
_MET: Final = 1.5  # in the logarithm of how many met them
_OPINION: Final = 0.1  # in what others think of them, as ranks
_EVENTS: Final = 10.0  # in the order of the user's events
_NOISE: Final = 16.0  # variance of one event, where that of the prior is 4

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traits:
    """What n items are compared by.

    Attributes:
        genres: 1.0 where an item has a genre, shape (n, genres).
        years: When they appeared, shape (n,); `UNKNOWN_YEAR`, which is like itself alone, where that is not known.
        met: log(1 + how many other users met them), shape (n,).
        opinion: How others rank them (`Opinion.rank`), shape (n,), in [-0.5, 0.5].
        events: The place of each in the order of the user's events, shape (n,).
    """

    genres: Floats
    years: Floats
    met: Floats
    opinion: Floats
    events: Floats


@dataclass(frozen=True, slots=True)
class Taste:
    """A user's taste, learnt from the events in `traits`; see `learn`."""

    traits: Traits
    weights: Floats

    @classmethod
    def learn(cls, traits: Traits, ranks: Floats) -> Taste:
        """Learn from events with these ranks (`own_ranks`), shape (n,)."""
        surprise = ranks - traits.opinion
        covariance = _alike(traits, traits) + _NOISE * np.eye(len(ranks))
        return cls(traits, np.linalg.solve(covariance, surprise - surprise.mean()))

    def of(self, items: Traits) -> Floats:
        """How much higher than others the user is expected to rank items, shape (items,), about -0.5 to 0.5.

        An item's value does not depend on the other items.
        """
        # Not a matrix product, whose last bits depend on how many items are asked about together.
        return np.asarray((_alike(items, self.traits) * self.weights).sum(axis=1), dtype=np.float64)


def own_ranks(entries: Sequence[HistoryEntry]) -> Floats:
    """Where each of a user's events stands among all of them, in (-0.5, 0.5): likes above dislikes, then by rating.

    Equal ones share the middle of their places; one without a rating is like the mean of that answer. The scale of
    ratings does not matter.
    """
    if not entries:
        return np.empty(0)
    ratings = np.array([np.nan if entry.rating is None else entry.rating for entry in entries], dtype=np.float64)
    liked = np.array([entry.liked for entry in entries])
    for answer in (liked, ~liked):
        known = answer & ~np.isnan(ratings)
        ratings[answer & ~known] = ratings[known].mean() if known.any() else 0.0
    order = ratings + (np.ptp(ratings) + 1) * liked
    # As `scipy.stats.rankdata`, which takes every command half a second to import.
    _, place, counts = np.unique(order, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]
    return np.asarray(ranks / (len(entries) + 1) - 0.5, dtype=np.float64)


def _alike(left: Traits, right: Traits) -> Floats:
    """The covariance of items, shape (left, right)."""
    near_years, near_met = _near(left.years, right.years, _YEARS), _near(left.met, right.met, _MET)
    opinion, events = _near(left.opinion, right.opinion, _OPINION), _near(left.events, right.events, _EVENTS)
    genres = _shared(left.genres, right.genres)
    return (genres**2 + 1) * near_years * near_met + genres + (opinion + events) / 2


def _near(left: Floats, right: Floats, scale: float) -> Floats:
    return np.asarray(np.exp(-np.abs(left[:, None] - right) / scale), dtype=np.float64)


def _shared(left: Floats, right: Floats) -> Floats:
    """Cosine of the sets of genres; 0 where an item has none."""
    sizes = np.sqrt(np.outer(left.sum(axis=1), right.sum(axis=1)))
    return np.divide(left @ right.T, sizes, out=np.zeros_like(sizes), where=sizes > 0)
