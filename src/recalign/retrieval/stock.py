"""`Stock`: the items that a retriever chooses from, by place, and the choice itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl

from recalign.data.catalog import ItemCatalog
from recalign.data.schema import HistoryEntry
from recalign.errors import DataError
from recalign.retrieval.base import Candidates, Filters, Float, Mask, Places, check_count
from recalign.terminal import printable


class Stock:
    """A catalogue with the place of each item, and what filters leave of it."""

    def __init__(self, catalog: ItemCatalog) -> None:
        self.catalog = catalog
        self._places = {item: place for place, item in enumerate(catalog.ids)}
        self._masks: dict[tuple[str, str], Mask] = {}

    @cached_property
    def texts(self) -> list[str]:
        """What retrievers read of each item: its text, author and genres."""
        genres = pl.col("genres").list.join(" ")
        text = pl.concat_str("text", "author", genres, separator=" ", ignore_nulls=True)
        return self.catalog.frame.select(text.alias("text"))["text"].to_list()

    def __len__(self) -> int:
        return len(self.catalog)

    def places(self, item_ids: Iterable[str]) -> Places:
        """The places of the items that there are; others are skipped."""
        return np.array([self._places[item] for item in item_ids if item in self._places], dtype=np.int64)

    def known(self, history: Sequence[HistoryEntry]) -> list[HistoryEntry]:
        """The entries whose items there are."""
        return [entry for entry in history if entry.item_id in self._places]

    def allowed(self, filters: Filters, history: Sequence[HistoryEntry]) -> Mask:
        """Which items may come back, shape (items,). Raises DataError as `Retriever.retrieve`."""
        mask = np.ones(len(self), dtype=np.bool_)
        for column in sorted({column for column, _ in filters.only}):
            values = sorted(value for named, value in filters.only if named == column)
            mask &= np.logical_or.reduce([self._having(column, value) for value in values])
        mask[self.places(filters.without)] = False
        if filters.exclude_seen:
            mask[self.places(entry.item_id for entry in history)] = False
        return mask

    def _having(self, column: str, value: str) -> Mask:
        """The items that have a value in a column; kept for the next question."""
        if (column, value) not in self._masks:
            frame = self.catalog.frame
            if column not in frame.columns:
                found, expected = printable(column), ", ".join(frame.columns)
                raise DataError("a filter on a column of the catalogue", found=found, expected=expected)
            if isinstance(frame.schema[column], pl.List):
                having = pl.col(column).list.contains(value)
            else:
                having = pl.col(column).cast(pl.String) == value
            mask = frame.select(having.fill_null(False)).to_series().to_numpy()
            if not mask.any():
                thing = f"the filter {printable(column)}={printable(value)}"
                raise DataError(thing, found="no item that has it", expected="a value of that column, as it is written")
            self._masks[column, value] = mask
        return self._masks[column, value]

    def best(self, scores: Float, k: int) -> Candidates:
        """The `k` items of the highest scores above 0; equal ones in the order of the catalogue.

        `scores` has shape (items,). Raises ConfigError where `k` is below 1.
        """
        check_count(k)
        places = np.flatnonzero(scores > 0)
        values = scores[places]
        if len(places) > k:
            last = np.partition(values, len(values) - k)[len(values) - k]
            above = np.flatnonzero(values > last)
            tied = np.flatnonzero(values == last)[: k - len(above)]
            kept = np.sort(np.concatenate([above, tied]))
            places, values = places[kept], values[kept]
        order = np.argsort(-values, kind="stable")
        ids = self.catalog.ids
        return Candidates(tuple(ids[place] for place in places[order]), values[order].astype(np.float64))

    def sources(self, old: Stock, *, same_text: bool) -> Places:
        """The place in `old` of each item; -1 where it has none, or (with `same_text`) where its text is another."""
        places = np.array([old._places.get(item, -1) for item in self.catalog.ids], dtype=np.int64)
        if same_text:
            texts = old.texts
            same = [place < 0 or texts[place] == text for place, text in zip(places, self.texts, strict=True)]
            places[~np.array(same, dtype=np.bool_)] = -1
        return places
