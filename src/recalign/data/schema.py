"""Column names and types of every table, in one place, and the entries of a history as objects.

Ids are strings everywhere: an item *is* its id (18 titles of MovieLens-100K occur twice). Times are whole microseconds
since 1970 UTC. Where a table is large, its ids are an Enum of these strings (`recalign.data.codes`): four bytes each,
and as sortable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

FORMAT_VERSION: Final = 1

SECOND: Final = 1_000_000  # in the unit of `timestamp`

# One row per interaction. `rating` is null for implicit events, `timestamp` where the source has none.
# `order` is the row's place among the parsed rows of the input: the last tie-break of every sort.
INTERACTIONS: Final[dict[str, pl.DataType]] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
    "order": pl.Int64(),
}

# One row per item. Further columns (publisher, price, ...) may follow and can be used by an item text template.
ITEMS: Final[dict[str, pl.DataType]] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "year": pl.Int32(),
    "author": pl.String(),
    "genres": pl.List(pl.String()),
}

SPLITS: Final = ("train", "valid", "test")

# What everything downstream reads (`SampleSet.frame`). `history` runs from oldest to newest.
SAMPLES: Final[dict[str, pl.DataType]] = {
    "sample_id": pl.String(),
    "split": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "label": pl.Int8(),
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
    "history": pl.List(pl.Struct({"item_id": pl.String(), "liked": pl.Boolean(), "rating": pl.Float64()})),
}

# Version of the two files below, in their Parquet metadata. 3: times are microseconds, and events are whole pasts.
SAMPLES_FORMAT: Final = 3

# `samples.parquet`: the same rows, but the history of a row is a range of rows of `events.parquet`: those from
# `history_end - history_length` on, up to and without `history_end`. Windows of one user overlap; their entries do not.
# The user's whole past before the target is the `past_length` rows that end there, the history among them.
STORED_SAMPLES: Final[dict[str, pl.DataType]] = {
    **{name: kind for name, kind in SAMPLES.items() if name != "history"},
    "history_end": pl.Int64(),
    "history_length": pl.Int32(),
    "past_length": pl.Int32(),
}

# `events.parquet`: the interactions that occur in a history or before one, each user's together, oldest first.
EVENTS: Final[dict[str, pl.DataType]] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "liked": pl.Boolean(),
    "rating": pl.Float64(),
}

# The per-sample score file: metrics, intervals and paired tests read only this.
SCORES: Final[dict[str, pl.DataType]] = {
    "sample_id": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "label": pl.Int8(),
    "score": pl.Float64(),
    "model": pl.String(),
    "seed": pl.Int64(),
}

# A further column where the scorer is a language model: probability of its two label answers together, in [0, 1].
LABEL_MASS: Final = "label_mass"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One interaction before the target. `rating` is on the source's own scale, None where there is none."""

    item_id: str
    liked: bool
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class HistoryText:
    """The same as a template sees it: with the item's text."""

    text: str
    liked: bool
    rating: float | None = None
