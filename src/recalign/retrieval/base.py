"""`Retriever`: a history in, the most promising items of a whole catalogue out.

A language model scores tens of items a second, a retriever a million. So the retriever chooses some hundred candidates
and the model ranks them. What the retriever misses, no ranking brings back: `recalign.evaluation.full_ranking` measures
both. `recalign.testing.contracts.RetrieverContract` holds for all retrievers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recalign.data.schema import HistoryEntry
from recalign.errors import ConfigError
from recalign.terminal import printable

Float = NDArray[np.float32]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which items may come back.

    Attributes:
        exclude_seen: Leave out the items of the history.
        only: (column, value) pairs of the catalogue. An item needs, for each column named, one of the values given for
            it: a value of its list where the column holds lists, such as ``("genres", "Comedy")``.
        without: Ids that never come back.
    """

    exclude_seen: bool = True
    only: frozenset[tuple[str, str]] = frozenset()
    without: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, only: Iterable[str] = (), without: Iterable[str] = (), *, exclude_seen: bool = True) -> Filters:
        """From texts such as ``genres=Comedy``, and ids.

        Raises:
            ConfigError: A text has no ``=``, or nothing on one of its sides.
        """
        pairs = set()
        for text in only:
            column, _, value = text.partition("=")
            if not column or not value:
                raise ConfigError(f"filter {printable(text)!r}", expected="COLUMN=VALUE, such as genres=Comedy")
            pairs.add((column, value))
        return cls(exclude_seen, frozenset(pairs), frozenset(without))


EVERYTHING_UNSEEN: Final = Filters()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items with a score each, in no unit that retrievers share; the best first."""

    item_ids: tuple[str, ...]
    scores: NDArray[np.float64]


@runtime_checkable
class Retriever(Protocol):
    """Finds candidates. Implementations are tested with `recalign.testing.RetrieverContract`."""

    @property
    def name(self) -> str:
        """Short name for tables."""

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = EVERYTHING_UNSEEN) -> Candidates:
        """The `k` best items for a history (oldest first) that `filters` let through.

        Fewer come back where nothing speaks for more. Entries of the history that are no items of the catalogue (any
        more) count for nothing. The same question has the same answer.

        Raises:
            ConfigError: `k` is below 1.
            DataError: A filter names a column that the catalogue lacks, or a value that no item has.
        """


def check_count(k: int) -> None:
    """Raise ConfigError where `k` is below 1."""
    if k < 1:
        raise ConfigError("number of candidates", found=str(k), expected="at least 1")
