"""The checks that several formats make: ratings with a time in seconds, items with id and title."""

from __future__ import annotations

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import FileTally, sift
from recalign.data.parsing.assembly import NO_TITLE


def sift_ratings(rows: pl.DataFrame, scale: fields.RatingScale, tally: FileTally) -> pl.DataFrame:
    """Give `user_id`, `item_id`, `rating` and `timestamp` (in seconds) their types, and keep the rows that have all."""
    typed = rows.with_columns(
        fields.identifier("user_id"),
        fields.identifier("item_id"),
        fields.number("rating"),
        fields.seconds("timestamp", "seconds"),
    )
    return sift(typed, [*fields.id_checks(), *scale.checks(), *fields.time_checks()], tally)


def item_checks() -> list[tuple[pl.Expr, str]]:
    """Conditions that condemn an item without id or title."""
    return [(pl.col("item_id").is_null(), fields.NO_ITEM), (pl.col("title").str.strip_chars() == "", NO_TITLE)]
