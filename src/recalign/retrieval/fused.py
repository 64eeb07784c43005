"""`Fused`: the lists of several retrievers as one, by reciprocal ranks.

Scores of different retrievers have no common unit; ranks do. An item gets weight / (60 + rank) from each list that has
it (Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", 2009). The weights are chosen on validation users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recalign.data.samples import Sample
from recalign.data.schema import HistoryEntry
from recalign.errors import ConfigError
from recalign.retrieval.base import EVERYTHING_UNSEEN, Candidates, Filters, Retriever, check_count

SMOOTHING: Final = 60.0
DEPTH: Final = 500  # items of each list at least
CUTOFF: Final = 100  # weights are chosen by recall at this place
STEPS: Final = (0.0, 0.25, 0.5, 1.0)


class Fused:
    """Several retrievers with a weight each."""

    name: ClassVar[str] = "fused"

    def __init__(self, retrievers: Sequence[Retriever], weights: Mapping[str, float]) -> None:
        """Combine retrievers; `weights` are by name, each 0 or more.

        Raises:
            ConfigError: A retriever has no weight, a weight is negative, or none is above 0.
        """
        for retriever in retrievers:
            weight = weights.get(retriever.name)
            if weight is None or not 0 <= weight < np.inf:
                raise ConfigError(f"weight of the retriever {retriever.name}", found=str(weight), expected="0 or more")
        self.retrievers = tuple(retriever for retriever in retrievers if weights[retriever.name] > 0)
        self.weights = {retriever.name: weights[retriever.name] for retriever in retrievers}
        if not self.retrievers:
            raise ConfigError("weights of retrievers", found="no weight above 0", expected="at least one")

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = EVERYTHING_UNSEEN) -> Candidates:
        """See `Retriever`."""
        check_count(k)
        scores: dict[str, float] = {}
        for retriever in self.retrievers:
            weight = self.weights[retriever.name]
            ids = retriever.retrieve(history, max(k, DEPTH), filters).item_ids
            for item, share in zip(ids, (weight * _shares(len(ids))).tolist(), strict=True):
                scores[item] = scores.get(item, 0.0) + share
        best = sorted(scores, key=lambda item: (-scores[item], item))[:k]
        return Candidates(tuple(best), np.array([scores[item] for item in best], dtype=np.float64))


@dataclass(frozen=True)
class Choice:
    """Weights, and what they were chosen by.

    Attributes:
        weights: By name of the retriever.
        recall: Recall@100 on the validation users, of the fused list ("fused") and of each retriever alone.
        cases: How many liked validation targets were asked for. 0: there are none, and all weights are 1.
    """

    weights: Mapping[str, float]
    recall: Mapping[str, float]
    cases: int


def choose_weights(
    retrievers: Sequence[Retriever],
    samples: Sequence[Sample],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Choice:
    """The weights of a small grid with the highest recall@100 of the liked targets of `samples`.

    The grid contains each retriever alone, so the choice is never worse there than the best of them. Of equally good
    weights the most even ones are taken. `progress` is told how many samples have been asked about, of how many.
    """
    names = [retriever.name for retriever in retrievers]
    liked = [sample for sample in samples if sample.label == 1]
    if not liked:
        return Choice(dict.fromkeys(names, 1.0), {}, 0)
    grid = np.array([steps for steps in product(STEPS, repeat=len(names)) if max(steps) == 1.0])
    hits = np.zeros(len(grid))
    for done, sample in enumerate(liked, 1):
        hits += _hits(retrievers, sample, grid)
        progress(done, len(liked))
    recall = hits / len(liked)
    best = max(range(len(grid)), key=lambda row: (recall[row], grid[row].sum()))
    alone = {name: float(recall[_row(grid, place)]) for place, name in enumerate(names)}
    weights = dict(zip(names, grid[best].tolist(), strict=True))
    return Choice(weights, {Fused.name: float(recall[best]), **alone}, len(liked))


def _row(grid: NDArray[np.float64], place: int) -> int:
    """The row of the grid that has this retriever alone."""
    return int(np.flatnonzero((grid == np.eye(grid.shape[1])[place]).all(axis=1))[0])


def _hits(retrievers: Sequence[Retriever], sample: Sample, grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each row of the grid has the target among its first 100, shape (rows,)."""
    lists = [retriever.retrieve(sample.past, DEPTH).item_ids for retriever in retrievers]
    items = sorted({item for ids in lists for item in ids})
    if sample.item_id not in items:
        return np.zeros(len(grid), dtype=np.bool_)
    places = {item: place for place, item in enumerate(items)}
    shares = np.zeros((len(lists), len(items)))
    for row, ids in enumerate(lists):
        shares[row, [places[item] for item in ids]] = _shares(len(ids))
    scores, target = grid @ shares, places[sample.item_id]
    own = scores[:, [target]]
    above = (scores > own).sum(axis=1) + (scores[:, :target] == own).sum(axis=1)
    hits: NDArray[np.bool_] = (own[:, 0] > 0) & (above < CUTOFF)
    return hits


def _shares(count: int) -> NDArray[np.float64]:
    """What the ranks 1 to `count` are worth."""
    shares: NDArray[np.float64] = 1.0 / (SMOOTHING + np.arange(1, count + 1, dtype=np.float64))
    return shares
