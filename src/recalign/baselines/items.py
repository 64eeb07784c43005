"""Items as numbers: which row of a baseline's embedding an item of any catalogue has, and lists as arrays of them.

Row 0 is shared by all items that no training sample contains. Ids of different datasets collide, so an id is the same
item only where the titles agree; other items are found by their title where exactly one trained item has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry, Sample
from recalign.data.title_names import normalise
from recalign.errors import DataError

UNKNOWN: Final = 0
NO_FEEDBACK, DISLIKED, LIKED = 0, 1, 2  # no feedback: the padding of an empty history

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """Histories as arrays of shape (n, length): places in the catalogue, counted from 1, and feedback.

    Where a history is empty, places are 0 and feedback is `NO_FEEDBACK`.
    """

    items: Places
    feedback: Places

    def __getitem__(self, rows: Places | slice) -> Histories:
        return Histories(self.items[rows], self.feedback[rows])

    def __len__(self) -> int:
        return len(self.items)


class ItemIndex:
    """Places of a catalogue's items (from 1 on; 0 is no item)."""

    def __init__(self, catalog: ItemCatalog) -> None:
        self.catalog = catalog
        self._places = {item: place for place, item in enumerate(catalog.ids, start=1)}

    def places(self, item_ids: Iterable[str]) -> Places:
        """Place of each item.

        Raises:
            DataError: An item is not in the catalogue.
        """
        try:
            return np.array([self._places[item] for item in item_ids], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"item {error.args[0]!r} is not in the catalogue", expected=f"one of its {len(self.catalog)} item ids"
            ) from None

    def histories(self, histories: Sequence[Sequence[HistoryEntry]], length: int) -> Histories:
        """The newest `length` entries of each history, oldest first.

        Shorter ones repeat their last entry at the end (TALLRec §3.1.5).
        """
        places = self.places(entry.item_id for history in histories for entry in history[-length:])
        flags = np.array([LIKED if e.liked else DISLIKED for h in histories for e in h[-length:]], dtype=np.int64)
        counts = np.array([min(len(history), length) for history in histories], dtype=np.int64)
        starts = np.cumsum(counts) - counts
        taken = starts[:, None] + np.minimum(np.arange(length), np.maximum(counts - 1, 0)[:, None])
        filled = (counts > 0)[:, None]
        # one more entry at the end, which the rows of empty histories point at
        items = np.append(places, 0)[np.where(filled, taken, len(places))]
        feedback = np.append(flags, NO_FEEDBACK)[np.where(filled, taken, len(places))]
        return Histories(items, feedback)


def trained_items(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Items of training samples, targets and histories, in a fixed order; the n-th (from 1) has row n."""
    items = {sample.item_id for sample in samples}
    items |= {entry.item_id for sample in samples for entry in sample.history}
    return tuple(sorted(items))


def embedding_rows(trained: pl.DataFrame, catalog: ItemCatalog) -> Places:
    """Row of each place of `catalog`, shape (items + 1,).

    Args:
        trained: The items trained on (columns ``item_id``, ``title``), in the order of their rows from 1 on.
        catalog: The items to score; not necessarily of the same dataset.
    """
    titles = {
        item: (row, normalise(title or ""))
        for row, (item, title) in enumerate(trained.select("item_id", "title").iter_rows(), start=1)
    }
    counts = Counter(title for _, title in titles.values())
    by_title = {title: row for row, title in titles.values() if title and counts[title] == 1}
    rows = np.zeros(len(catalog) + 1, dtype=np.int64)
    for place, (item, title) in enumerate(catalog.frame.select("item_id", "title").iter_rows(), start=1):
        name = normalise(title or "")
        row, own = titles.get(item, (UNKNOWN, None))
        rows[place] = row if own == name else by_title.get(name, UNKNOWN)
    return rows
