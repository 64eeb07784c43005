"""What the built-in retrievers share: a score for each item of the stock, and how they are kept on disk.

Nothing is computed per item beforehand that a new item would change, so `over` moves a retriever to another catalogue
for the price of its new items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recalign.data.schema import HistoryEntry
from recalign.retrieval.base import EVERYTHING_UNSEEN, Candidates, Filters, Float, Places
from recalign.retrieval.stock import Stock

RECENCY: Final = 0.8  # what an entry weighs for each newer one; chosen on the validation users of MovieLens-100K
DISLIKED: Final = 0.5  # what a disliked item weighs: its user met it, and people who meet it meet the same others


class ExactRetriever(ABC):
    """Scores every item and takes the best."""

    name: ClassVar[str]

    def __init__(self, stock: Stock) -> None:
        self.stock = stock

    @abstractmethod
    def scores(self, history: Sequence[HistoryEntry]) -> Float:
        """A score for each item, shape (items,). 0 or less: nothing speaks for the item."""

    @abstractmethod
    def over(self, stock: Stock) -> Self:
        """The same retriever over other items. It keeps what it knows of those that both have."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """What `restored` needs, by name."""

    @classmethod
    @abstractmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], stock: Stock) -> Self:
        """The retriever that gave these arrays."""

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = EVERYTHING_UNSEEN) -> Candidates:
        """See `Retriever`."""
        allowed = self.stock.allowed(filters, history)
        return self.stock.best(np.where(allowed, self.scores(history), np.float32(0)), k)

    def write(self, folder: Path) -> None:
        """Write the arrays into a folder."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        save_file(arrays, folder / f"{self.name}.safetensors")

    @classmethod
    def read(cls, folder: Path, stock: Stock) -> Self:
        """Read what `write` wrote."""
        return cls.restored(load_file(folder / f"{cls.name}.safetensors"), stock)


def weights(history: Sequence[HistoryEntry], *, disliked: float = 0.0) -> Float:
    """What each entry counts (oldest first): 1 for the newest, less for older ones, and `disliked` times that."""
    age = np.arange(len(history))[::-1]
    signs = np.array([1.0 if entry.liked else disliked for entry in history])
    counted: Float = (signs * RECENCY**age).astype(np.float32)
    return counted


def pack(matrix: sp.csr_array) -> dict[str, NDArray[np.generic]]:
    """The arrays of a sparse matrix."""
    shape = np.array(matrix.shape, dtype=np.int64)
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": shape}


def unpack(arrays: Mapping[str, NDArray[np.generic]]) -> sp.csr_array:
    """The matrix that `pack` took apart."""
    rows, columns = arrays["shape"].tolist()
    return sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(rows, columns))


def taken(matrix: sp.csr_array, rows: Places) -> sp.csr_array:
    """These rows of a matrix; -1 stands for an empty row."""
    empty = sp.csr_array((1, matrix.shape[1]), dtype=matrix.dtype)
    return sp.vstack([matrix, empty], format="csr")[np.where(rows < 0, matrix.shape[0], rows)]
