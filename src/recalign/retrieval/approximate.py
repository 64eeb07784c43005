"""Approximate search among very many vectors: faiss's inverted lists over 8-bit codes (extra ``ann``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recalign.errors import ConfigError
from recalign.retrieval.base import Float, Mask, Places

EXACT_BELOW: Final = 200_000  # vectors; up to there looking at all of them takes milliseconds
LISTS: Final = 2.0  # times the root of the number of vectors; twice as many lists take four times as long to train
VISITED: Final = 64  # lists that a search looks into; twice as many find 1 to 2 % more and take twice as long
_TRAINED_ON: Final = 40  # vectors per list; faiss wants 39


class Neighbours:
    """Vectors of length 1 in lists of like ones."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def fitted(cls, vectors: Float, like: Neighbours | None = None) -> Neighbours:
        """Sort vectors, shape (n, width), into lists: new ones, or those of `like`, which saves the training.

        Raises:
            ConfigError: faiss is not installed.
        """
        faiss = _faiss(len(vectors))
        count, width = vectors.shape
        if like is not None:
            index = faiss.clone_index(like._index)
            index.reset()
        else:
            lists = int(LISTS * np.sqrt(count))
            quantizer = faiss.IndexFlatIP(width)
            metric = faiss.METRIC_INNER_PRODUCT
            index = faiss.IndexIVFScalarQuantizer(quantizer, width, lists, faiss.ScalarQuantizer.QT_8bit, metric)
            step = max(1, count // (_TRAINED_ON * lists))
            index.train(np.ascontiguousarray(vectors[::step]))
        index.add(vectors)
        return cls(index)

    def nearest(self, query: Float, k: int, allowed: Mask) -> tuple[Places, Float]:
        """Places and cosines of about the `k` nearest vectors that are allowed, the nearest first."""
        faiss = _faiss(len(allowed))
        refused = len(allowed) - int(np.count_nonzero(allowed))
        if refused <= k:  # as with the items of a history: looking for more costs less than asking about each vector
            chosen, wanted = faiss.SearchParametersIVF(nprobe=VISITED), k + refused
        else:
            bits = np.packbits(allowed, bitorder="little")
            chosen, wanted = faiss.SearchParametersIVF(nprobe=VISITED, sel=faiss.IDSelectorBitmap(bits)), k
        cosines, places = self._index.search(query[None], wanted, params=chosen)
        some: NDArray[np.bool_] = (places[0] >= 0) & allowed[places[0]]
        return places[0][some][:k], cosines[0][some][:k]

    def write(self, path: Path) -> None:
        """Write the lists to a file."""
        _faiss(self._index.ntotal).write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path) -> Neighbours:
        """Read what `write` wrote. Raises ConfigError where faiss is not installed."""
        return cls(_faiss(EXACT_BELOW).read_index(str(path)))


def _faiss(vectors: int) -> Any:
    if importlib.util.find_spec("faiss") is None:
        hint = "Install it: pip install 'recalign[ann]', or index without --text-encoder."
        raise ConfigError(f"search among {vectors:,} text vectors", found="no faiss", hint=hint)
    import faiss

    return faiss
