"""Scorers that need no learning: what the user liked before, what others think of the item, or both.

Every results table contains them, because they are hard to beat: on the published Movie test the like-rate alone has an
AUC of 0.726. What "others think" is counted in the train split of the prepared data that the prior may learn from,
which may be another dataset; its validation and test targets are never read.

Definitions, for a history with k liked of n items and an item that c users of the train split met and l of them liked:

* ``like-rate``: share r = k / n (0.5 for an empty history). Score: log-odds of (10 r + 0.5) / 11, the posterior mean
  for ten items under Jeffreys' prior. The weight is the same for every n, so the order is exactly that of r.
* ``item-mean``: m = (l + 5 g) / (c + 5) with g the mean label over all interactions (unseen items: m = g). Labels, not
  ratings: what is predicted is the label. Score: log-odds of m.
* ``popularity``: c, or l where the feedback is implicit (the rest are sampled negatives). An order only.
* ``like-rate+item-mean``: r + m. An order only.
* ``recent``, ``recent+item-mean``: the whole past, the latest first (`recalign.baselines.recent`). Orders only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logit

from recalign.baselines.recent import Recency, RecentPrior, choose_recency, looked_up
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, HistoryEntry, SampleSet
from recalign.data.title_names import normalise
from recalign.errors import ConfigError, DataError, nearest
from recalign.scoring.base import Scores

PREFIX: Final = "prior:"
NEEDS_FIT: Final[dict[str, bool]] = {
    "like-rate": False,
    "item-mean": True,
    "popularity": True,
    "like-rate+item-mean": True,
    "recent": True,
    "recent+item-mean": True,
}
SMOOTHING: Final = 5.0  # interactions' worth of the global mean that every item starts with


class ItemStatistics:
    """Likes and interactions per item, counted in the train split of one dataset and looked up from any catalogue.

    An interaction is a distinct (user, item) pair among the targets *and* the history entries of train samples (sliding
    windows repeat each interaction up to eleven times; the first ones of a user occur in histories only). Where a pair
    was labelled differently at different times, its mean label counts.

    Attributes:
        interactions: Number of such pairs.
        mean: Mean label g over them, kept inside (0, 1) by half a like and half a dislike.
        sampled_negatives: Whether the dislikes among them are sampled (implicit feedback).
    """

    def __init__(self, fit: SampleSet) -> None:
        """Count. Raises DataError where the train split has no samples."""
        pairs = train_interactions(fit)
        self._fit = fit
        self.interactions = pairs.height
        self.mean = (float(pairs["liked"].sum()) + 0.5) / (pairs.height + 1)
        per_item = pairs.group_by("item_id").agg(pl.col("liked").sum(), pl.len())
        self._by_id = {item: (likes, float(count)) for item, likes, count in per_item.iter_rows()}
        # Sampled negatives stand in the train split like dislikes, but nobody met those items.
        feedback = fit.manifest.config.get("feedback") or {}
        self.sampled_negatives = feedback.get("kind") == "implicit"
        self._titles = _title_keys(fit.catalog)
        self._by_title: dict[str, tuple[float, float]] = {}
        for item, (likes, count) in self._by_id.items():
            if title := self._titles.get(item):
                before = self._by_title.get(title, (0.0, 0.0))
                self._by_title[title] = (before[0] + likes, before[1] + count)

    @cached_property
    def recency(self) -> Recency:
        """How the ``recent`` priors weigh: chosen on the validation split of this data."""
        return choose_recency(self._fit.samples("valid"), self.means(self._fit.catalog))

    def means(self, catalog: ItemCatalog) -> dict[str, float]:
        """The smoothed mean label m of each item of `catalog`, in (0, 1); see the module's definitions."""
        return {
            item: (likes + SMOOTHING * self.mean) / (count + SMOOTHING)
            for item, (likes, count) in self.look_up(catalog).items()
        }

    def look_up(self, catalog: ItemCatalog) -> dict[str, tuple[float, float]]:
        """(likes, interactions) of each item of `catalog`; (0, 0) for unseen ones.

        An id is the same item only if both catalogues give it the same title (ids of different datasets collide);
        otherwise items are joined by normalised title, pooled over the items that share it.
        """
        counts: dict[str, tuple[float, float]] = {}
        for item, title in _title_keys(catalog).items():
            if item in self._titles and self._titles[item] == title:
                counts[item] = self._by_id.get(item, (0.0, 0.0))
            else:
                counts[item] = self._by_title.get(title, (0.0, 0.0)) if title else (0.0, 0.0)
        return counts


def train_interactions(fit: SampleSet) -> pl.DataFrame:
    """Distinct train interactions: user_id, item_id and `liked` (mean label in [0, 1]); order unspecified.

    Raises:
        DataError: The train split has no samples.
    """
    frame = fit.frame("train")
    if frame.is_empty():
        expected = "a prepared directory with a train split"
        raise DataError("the data that the priors may learn from (--fit)", found="no train samples", expected=expected)
    targets = frame.select("user_id", "item_id", liked=pl.col("label").cast(pl.Float64))
    entries = frame.select("user_id", "history").explode("history").drop_nulls("history").unnest("history")
    histories = entries.select("user_id", "item_id", pl.col("liked").cast(pl.Float64))
    # distinct labels first: the number of windows that repeat an interaction must not weigh
    return pl.concat([targets, histories]).unique().group_by("user_id", "item_id").agg(pl.col("liked").mean())


def _title_keys(catalog: ItemCatalog) -> dict[str, str]:
    """Normalised title per item id; "" (which joins with nothing) for items without one."""
    return {item: normalise(title or "") for item, title in catalog.frame.select("item_id", "title").iter_rows()}


def like_share(history: Sequence[HistoryEntry]) -> float:
    """Share of liked entries, in [0, 1]; 0.5 for an empty history, which says nothing."""
    return sum(entry.liked for entry in history) / len(history) if history else 0.5


class LikeRate:
    """Log-odds of the (squeezed) share of liked items in the history as given; the same for every item of a list."""

    name = f"{PREFIX}like-rate"
    log_odds = True

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score; needs no catalogue. See the module's definitions."""
        return Scores(
            tuple(
                np.full(len(candidates.item_ids), logit((10 * like_share(candidates.history) + 0.5) / 11))
                for candidates in lists
            )
        )


@dataclass(frozen=True)
class ItemPrior:
    """A value per item id, plus the share of liked entries in the history if `with_share`."""

    name: str
    values: dict[str, float]
    log_odds: bool
    with_share: bool = False

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score. Raises DataError where an item is not in the catalogue that the scorer was made for."""
        return Scores(tuple(self._scores(candidates) for candidates in lists))

    def _scores(self, candidates: CandidateList) -> NDArray[np.float64]:
        values = looked_up(self.values, candidates.item_ids)
        return values + like_share(candidates.history) if self.with_share else values


Prior = LikeRate | ItemPrior | RecentPrior


def prior_name(name: str) -> str:
    """Check and strip ``prior:item-mean`` (the prefix may be missing) to ``item-mean``.

    Raises:
        ConfigError: There is no such prior; names the nearest.
    """
    bare = name.removeprefix(PREFIX)
    if bare in NEEDS_FIT:
        return bare
    near = nearest(bare, NEEDS_FIT)
    hint = f"Did you mean {PREFIX}{near}?" if near else ""
    raise ConfigError(f"unknown prior {bare!r}", expected=", ".join(PREFIX + other for other in NEEDS_FIT), hint=hint)


def prior(
    name: str,
    fit: SampleSet | ItemStatistics | None = None,
    catalog: ItemCatalog | None = None,
    recency: Recency | None = None,
) -> Prior:
    """Make a prior by name.

    Args:
        name: A key of `NEEDS_FIT`, with or without the prefix ``prior:``.
        fit: What it may learn from: prepared data (its train split; ``recent`` has its weights chosen on the validation
            split), or the statistics of it, counted once for several priors. Not needed by ``like-rate``.
        catalog: The items that will be scored; by default those of `fit`.
        recency: How the ``recent`` priors weigh; by default as `fit` chooses.

    Raises:
        ConfigError: There is no such prior, or it needs `fit` (or, with statistics, `catalog`) and got none.
        DataError: `fit` has no train samples.
    """
    bare = prior_name(name)
    if not NEEDS_FIT[bare]:
        return LikeRate()
    if fit is None:
        raise ConfigError(
            f"{PREFIX}{bare} has nothing to learn from", expected="prepared data", hint="Name it with --fit DIR."
        )
    if isinstance(fit, SampleSet):
        catalog = catalog or fit.catalog
        fit = ItemStatistics(fit)
    if catalog is None:
        raise ConfigError(f"{PREFIX}{bare} from counted statistics", expected="the catalogue of the items to score")
    name = f"{PREFIX}{bare}"
    if bare == "popularity":
        column = 0 if fit.sampled_negatives else 1
        return ItemPrior(name, {item: pair[column] for item, pair in fit.look_up(catalog).items()}, log_odds=False)
    means = fit.means(catalog)
    if bare.startswith("recent"):
        return RecentPrior(name, means, recency or fit.recency, with_mean=bare != "recent")
    if bare == "item-mean":
        return ItemPrior(name, {item: float(logit(mean)) for item, mean in means.items()}, log_odds=True)
    return ItemPrior(name, means, log_odds=False, with_share=True)
