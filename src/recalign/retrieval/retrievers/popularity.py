"""Popularity: how many people met an item. The same list for everybody, and a hard one to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry
from recalign.retrieval.base import EVERYTHING_UNSEEN, Candidates, Filters, Float, check_count
from recalign.retrieval.exact import ExactRetriever
from recalign.retrieval.interactions import Interactions
from recalign.retrieval.retrievers import Material, RetrieverPlugin
from recalign.retrieval.stock import Stock


class Popularity(ExactRetriever):
    """Scores are counts of users; an item that nobody met is no candidate."""

    name: ClassVar[str] = "popularity"

    def __init__(self, stock: Stock, counts: Float) -> None:
        super().__init__(stock)
        self._counts = counts
        self._order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]

    @classmethod
    def fitted(cls, stock: Stock, interactions: Interactions) -> Self:
        """Count the users of each item."""
        return cls(stock, np.diff(interactions.indptr).astype(np.float32))

    def scores(self, history: Sequence[HistoryEntry]) -> Float:
        """The counts."""
        return self._counts

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = EVERYTHING_UNSEEN) -> Candidates:
        """See `Retriever`. The order is the same for everybody, so it is kept."""
        check_count(k)
        best = self._order[self.stock.allowed(filters, history)[self._order]][:k]
        ids = self.stock.catalog.ids
        return Candidates(tuple(ids[place] for place in best), self._counts[best].astype(np.float64))

    def over(self, stock: Stock) -> Self:
        """New items have the count 0."""
        sources = stock.sources(self.stock, same_text=False)
        return type(self)(stock, np.append(self._counts, np.float32(0))[sources])

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The counts."""
        return {"counts": self._counts}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], stock: Stock) -> Self:
        """See `ExactRetriever`."""
        return cls(stock, arrays["counts"].astype(np.float32))


def _fit(material: Material) -> Popularity | None:
    return None if material.interactions is None else Popularity.fitted(material.stock, material.interactions)


PLUGIN = RetrieverPlugin(fit=_fit, read=Popularity.read, needs="interactions: prepared data", position=10)
