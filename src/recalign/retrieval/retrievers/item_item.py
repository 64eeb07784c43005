"""Item–item: what the people who met the items of the history met besides (cosine of the items' users)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry
from recalign.retrieval.base import Float
from recalign.retrieval.exact import DISLIKED, ExactRetriever, pack, taken, unpack, weights
from recalign.retrieval.interactions import Interactions
from recalign.retrieval.retrievers import Material, RetrieverPlugin
from recalign.retrieval.stock import Stock


class ItemItem(ExactRetriever):
    """The score of an item is the weighted sum of its cosines with the items of the history.

    It goes through the users, so no table of neighbours is made: the history's items give weights to the users that
    met them, and those users to their items.
    """

    name: ClassVar[str] = "item-item"

    def __init__(self, stock: Stock, interactions: Interactions) -> None:
        super().__init__(stock)
        self._interactions = interactions
        met = np.diff(interactions.indptr)
        norms = np.sqrt(np.maximum(met, 1)).astype(np.float32)
        self._items = interactions.copy()  # items × users, rows of length 1
        self._items.data = np.repeat(1 / norms, met)
        self._users = self._items.T.tocsr()

    @classmethod
    def fitted(cls, stock: Stock, interactions: Interactions) -> Self:
        """See `interactions_of`."""
        return cls(stock, interactions)

    def scores(self, history: Sequence[HistoryEntry]) -> Float:
        """Sums of cosines, in which newer entries weigh more and disliked ones half."""
        known = self.stock.known(history)
        met = self._items[self.stock.places(entry.item_id for entry in known)]
        users = met.T @ weights(known, disliked=DISLIKED)
        some = np.flatnonzero(users)
        scores: Float = self._users[some].T @ users[some]
        return scores

    def over(self, stock: Stock) -> Self:
        """Nobody has met a new item."""
        return type(self)(stock, taken(self._interactions, stock.sources(self.stock, same_text=False)))

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The interactions."""
        return pack(self._interactions)

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], stock: Stock) -> Self:
        """See `ExactRetriever`."""
        return cls(stock, unpack(arrays))


def _fit(material: Material) -> ItemItem | None:
    return None if material.interactions is None else ItemItem.fitted(material.stock, material.interactions)


PLUGIN = RetrieverPlugin(fit=_fit, read=ItemItem.read, needs="interactions: prepared data", position=20)
