"""What a user did before a history begins: a range in the table of events, whose entries are made when they are read.

A user with 700 events and 700 samples has 245,000 earlier events, counted by sample. Here a sample has two numbers and
the table that all samples share, which is not even read as long as nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import polars as pl

from recalign.data.schema import HistoryEntry


class EventLog:
    """A table with ``item_id``, ``liked`` and ``rating`` that is read when it is first looked at, and then kept."""

    def __init__(self, read: Callable[[], pl.DataFrame]) -> None:
        """`read` gives the table."""
        self._read = read

    @cached_property
    def _columns(self) -> pl.DataFrame:
        return self._read().select("item_id", "liked", "rating")

    def entries(self, start: int, stop: int) -> Iterator[HistoryEntry]:
        """The events from `start` up to and without `stop`."""
        return (HistoryEntry(*row) for row in self._columns[start:stop].iter_rows())


@dataclass(frozen=True, slots=True, eq=False)
class EventRange(Sequence[HistoryEntry]):
    """The events of `log` from `start` up to and without `stop`. Equal to every sequence of the same entries."""

    log: EventLog
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[HistoryEntry]:
        return self.log.entries(self.start, self.stop)

    @overload
    def __getitem__(self, place: int) -> HistoryEntry: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[HistoryEntry, ...]: ...

    def __getitem__(self, place: int | slice) -> HistoryEntry | tuple[HistoryEntry, ...]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))
