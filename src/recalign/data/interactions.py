"""The table of interactions: its checks, its canonical order, and repeats.

The canonical order depends on what the rows say and never on where they stood in a file, so everything drawn or counted
along it is the same for every permutation of the input.
"""

from __future__ import annotations

import polars as pl

from recalign.data.schema import INTERACTIONS
from recalign.errors import DataError


def natural_order(column: str) -> list[pl.Expr]:
    """Sort keys: integer-like ids run as numbers, all others follow as text. Total, because the text decides."""
    return [pl.col(column).cast(pl.Int64, strict=False).fill_null(2**63 - 1), pl.col(column)]


def check_interactions(frame: pl.DataFrame) -> None:
    """Check the columns of `schema.INTERACTIONS`; further ones may follow.

    Raises:
        DataError: a column is missing or of another type, an id or an ``order`` is null, a rating is NaN or infinite,
            or there is no row.
    """
    for name, dtype in INTERACTIONS.items():
        if frame.schema.get(name) != dtype:
            found = str(frame.schema[name]) if name in frame.columns else "no such column"
            raise DataError(f"interactions, column {name!r}", found=found, expected=str(dtype))
    for name in ("user_id", "item_id", "order"):
        if empty := frame[name].null_count():
            raise DataError(f"interactions, column {name!r}", found=f"{empty} empty values", expected="none")
    if odd := len(frame.filter(~pl.col("rating").is_finite())):
        raise DataError("interactions, column 'rating'", found=f"{odd} infinite values or NaN", expected="numbers")
    if frame.is_empty():
        raise DataError("there are no interactions", expected="at least one row", hint="See rejects.jsonl for reasons.")


def canonical(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by user, time, item and rating: ids in natural order, missing values last. Rows that still tie are equal."""
    keys = [*natural_order("user_id"), pl.col("timestamp"), *natural_order("item_id"), pl.col("rating")]
    return frame.sort(keys, nulls_last=True)


def without_repeats(frame: pl.DataFrame, *, by_file: bool = False) -> pl.DataFrame:
    """Keep each user's first interaction with an item: the one that is there to be predicted.

    A later rating of the same item would have the answer, or nearly so, in its own history. "First" is by time and then
    by canonical order, or by place in the file with `by_file`.
    """
    ordered = frame.sort("order") if by_file else canonical(frame)
    return ordered.unique(["user_id", "item_id"], keep="first", maintain_order=True)
