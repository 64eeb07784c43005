"""Autocomplete over a catalogue: the items whose titles have a word that begins as typed."""

from __future__ import annotations

import polars as pl

from recalign.data.catalog import ItemCatalog
from recalign.data.title_names import normalise


class TitleSearch:
    """Titles, folded once as `recalign.data.matching` does: no case, no diacritics, no punctuation."""

    def __init__(self, catalog: ItemCatalog) -> None:
        titles = [catalog.title(item_id) for item_id in catalog.ids]
        names = pl.Series("name", [f" {normalise(title)}" for title in titles], dtype=pl.String)
        lengths = names.str.len_chars().alias("length")
        # Sorted once: of two titles that begin alike the shorter comes first, then by id.
        self._items = pl.DataFrame([pl.Series("item_id", catalog.ids, dtype=pl.String), names, lengths]).sort(
            "length", "item_id"
        )

    def find(self, query: str, limit: int) -> list[str]:
        """At most `limit` ids: titles that begin with `query` first, then those with a later word that does."""
        typed = normalise(query)
        if not typed:
            return []
        matching = self._items.filter(pl.col("name").str.contains(f" {typed}", literal=True))
        later = ~matching["name"].str.starts_with(f" {typed}")
        return (
            matching.with_columns(later.alias("later")).sort("later", maintain_order=True)["item_id"][:limit].to_list()
        )
