"""Text vectors: items whose texts an encoder (any of Hugging Face) puts near those of the liked items.

The encoder reads each text once, when the index is made or the item is new. To retrieve, only vectors are needed. The
search is exact below 200,000 items (or where filters leave fewer), else approximate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry
from recalign.errors import ConfigError
from recalign.retrieval.approximate import EXACT_BELOW, Neighbours
from recalign.retrieval.base import EVERYTHING_UNSEEN, Candidates, Filters, Float, Places, check_count
from recalign.retrieval.exact import ExactRetriever, weights
from recalign.retrieval.retrievers import Encode, Material, RetrieverPlugin
from recalign.retrieval.stock import Stock

_LISTS: Final = "text.faiss"


class TextVectors(ExactRetriever):
    """Cosine of each item's vector with the weighted mean of the liked items' vectors."""

    name: ClassVar[str] = "text"

    def __init__(
        self, stock: Stock, vectors: Float, encode: Encode | None = None, neighbours: Neighbours | None = None
    ) -> None:
        """Hold vectors of length 1, shape (items, width).

        `encode` is needed for new items only, `neighbours` where there are `EXACT_BELOW` items or more.
        """
        super().__init__(stock)
        self._vectors, self.encode, self._neighbours = vectors, encode, neighbours

    @classmethod
    def fitted(cls, stock: Stock, encode: Encode) -> Self:
        """Encode the texts of the stock."""
        vectors = _unit(encode(stock.texts))
        return cls(stock, vectors, encode, _neighbours(vectors))

    def scores(self, history: Sequence[HistoryEntry]) -> Float:
        """(1 + cosine) / 2, in [0, 1]; 0 for all where nothing is liked."""
        query = self._query(history)
        if query is None:
            return np.zeros(len(self.stock), dtype=np.float32)
        scores: Float = ((1 + self._vectors @ query) / 2).astype(np.float32)
        return scores

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = EVERYTHING_UNSEEN) -> Candidates:
        """See `Retriever`."""
        allowed, query = self.stock.allowed(filters, history), self._query(history)
        if self._neighbours is None or query is None or np.count_nonzero(allowed) < EXACT_BELOW:
            return super().retrieve(history, k, filters)
        check_count(k)
        places, cosines = self._neighbours.nearest(query, k, allowed)
        ids = self.stock.catalog.ids
        return Candidates(tuple(ids[place] for place in places), (1 + cosines.astype(np.float64)) / 2)

    def _query(self, history: Sequence[HistoryEntry]) -> Float | None:
        """The weighted mean of the liked items' vectors, at length 1; None where nothing is liked."""
        liked = [entry for entry in self.stock.known(history) if entry.liked]
        if not liked:
            return None
        rows = self._vectors[self.stock.places(entry.item_id for entry in liked)]
        query: Float = _unit((weights(liked) @ rows)[None])[0]
        return query

    def similarity(self, places: Places) -> NDArray[np.float32]:
        """Cosines of these items with each other, shape (n, n)."""
        rows = self._vectors[places]
        return rows @ rows.T

    def over(self, stock: Stock) -> Self:
        """Texts that are new are encoded. Raises ConfigError where there is no encoder for them."""
        sources = stock.sources(self.stock, same_text=True)
        new = np.flatnonzero(sources < 0)
        if len(new) and self.encode is None:
            found = f"no encoder for {len(new)} new texts"
            raise ConfigError("text vectors", found=found, hint="Name the encoder with --text-encoder.")
        vectors = self._vectors[sources]
        if len(new) and self.encode is not None:
            vectors[new] = _unit(self.encode([stock.texts[place] for place in new]))
        return type(self)(stock, vectors, self.encode, _neighbours(vectors, self._neighbours))

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The vectors."""
        return {"vectors": self._vectors}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], stock: Stock) -> Self:
        """See `ExactRetriever`."""
        return cls(stock, arrays["vectors"].astype(np.float32))

    def write(self, folder: Path) -> None:
        """The arrays, and the lists of neighbours where there are such."""
        super().write(folder)
        if self._neighbours is not None:
            self._neighbours.write(folder / _LISTS)

    @classmethod
    def read(cls, folder: Path, stock: Stock) -> Self:
        """See `ExactRetriever`. Raises ConfigError where faiss is needed and not installed."""
        read = super().read(folder, stock)
        if (folder / _LISTS).exists():
            read._neighbours = Neighbours.read(folder / _LISTS)
        return read


def _neighbours(vectors: Float, like: Neighbours | None = None) -> Neighbours | None:
    return Neighbours.fitted(vectors, like) if len(vectors) >= EXACT_BELOW else None


def _unit(vectors: NDArray[np.float32]) -> Float:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float = vectors / np.maximum(lengths, 1e-12)
    return unit


def _fit(material: Material) -> TextVectors | None:
    return None if material.encode is None else TextVectors.fitted(material.stock, material.encode)


PLUGIN = RetrieverPlugin(fit=_fit, read=TextVectors.read, needs="a text encoder: --text-encoder", position=40)
