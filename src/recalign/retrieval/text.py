"""Text vectors: items whose texts an encoder (any of Hugging Face) puts near those of the liked items.

The encoder reads each text once, when the index is made or the item is new. To retrieve, only vectors are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry
from recalign.errors import ConfigError
from recalign.retrieval.base import Float, Places
from recalign.retrieval.exact import ExactRetriever, weights
from recalign.retrieval.stock import Stock

Encode = Callable[[Sequence[str]], NDArray[np.float32]]  # texts -> vectors, shape (texts, width)


class TextVectors(ExactRetriever):
    """Cosine of each item's vector with the weighted mean of the liked items' vectors."""

    name: ClassVar[str] = "text"

    def __init__(self, stock: Stock, vectors: Float, encode: Encode | None = None) -> None:
        """Hold vectors of length 1, shape (items, width); `encode` is needed for new items only."""
        super().__init__(stock)
        self._vectors, self.encode = vectors, encode

    @classmethod
    def fitted(cls, stock: Stock, encode: Encode) -> Self:
        """Encode the texts of the stock."""
        return cls(stock, _unit(encode(stock.texts)), encode)

    def scores(self, history: Sequence[HistoryEntry]) -> Float:
        """(1 + cosine) / 2, in [0, 1]; 0 for all where nothing is liked."""
        liked = [entry for entry in self.stock.known(history) if entry.liked]
        if not liked:
            return np.zeros(len(self.stock), dtype=np.float32)
        rows = self._vectors[self.stock.places(entry.item_id for entry in liked)]
        query = _unit((weights(liked) @ rows)[None])[0]
        scores: Float = (1 + self._vectors @ query) / 2
        return scores

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
        return type(self)(stock, vectors, self.encode)

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The vectors."""
        return {"vectors": self._vectors}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], stock: Stock) -> Self:
        """See `ExactRetriever`."""
        return cls(stock, arrays["vectors"].astype(np.float32))


def _unit(vectors: NDArray[np.float32]) -> Float:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float = vectors / np.maximum(lengths, 1e-12)
    return unit
