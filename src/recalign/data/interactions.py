"""The table of interactions: its checks, its canonical order, repeats, and blocks of users.

The canonical order depends on what the rows say and never on where they stood in a file, so everything drawn or counted
along it is the same for every permutation of the input.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.codes import codes, encode, is_coded, knows, names, natural_order, pair_keys, repeated
from recalign.data.schema import INTERACTIONS
from recalign.errors import DataError

_IDS: Final = ("user_id", "item_id")
BLOCK_ROWS: Final = 1_000_000  # what is sorted at a time: the work per row stays the same, however long the table


def type_problems(frame: pl.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Columns of `schema.INTERACTIONS` that are missing or of another type, as (name, type found, type expected)."""
    for name, dtype in INTERACTIONS.items():
        dtype_there = frame.schema.get(name)
        if dtype_there != dtype and not (name in ("user_id", "item_id") and is_coded(dtype_there)):
            yield name, "no such column" if dtype_there is None else str(dtype_there), str(dtype)


def check_interactions(frame: pl.DataFrame) -> None:
    """Check the columns of `schema.INTERACTIONS` (ids: text, or an Enum of it); further ones may follow.

    Raises:
        DataError: a column is missing or of another type, an id or an ``order`` is null, a rating is NaN or infinite,
            or there is no row.
    """
    for name, found, expected in type_problems(frame):
        raise DataError(f"interactions, column {name!r}", found=found, expected=expected)
    for name in ("user_id", "item_id", "order"):
        if empty := frame[name].null_count():
            raise DataError(f"interactions, column {name!r}", found=f"{empty} empty values", expected="none")
    if odd := int((~frame["rating"].is_finite()).sum()):
        raise DataError("interactions, column 'rating'", found=f"{odd} infinite values or NaN", expected="numbers")
    if frame.is_empty():
        raise DataError("there are no interactions", expected="at least one row", hint="See rejects.jsonl for reasons.")


def with_codes(frame: pl.DataFrame, item_ids: Collection[str] = ()) -> pl.DataFrame:
    """Ids as Enums in natural order; that of the items knows `item_ids` as well.

    Columns that already are such Enums stay unchanged.
    """
    more = {"user_id": pl.Series(dtype=pl.String), "item_id": pl.Series(list(item_ids), dtype=pl.String)}
    return frame.with_columns(
        encode([frame[name]], others)[0] for name, others in more.items() if not knows(frame.schema[name], others)
    )


def canonical(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by user, time, item and rating: ids in natural order, missing values last. Rows that still tie are equal."""
    if all(is_coded(frame.schema[name]) for name in _IDS) and (keys := _packed_keys(frame)) is not None:
        places = np.argsort(keys)
        ordered = keys[places]
        if not (ordered[1:] == ordered[:-1]).any():  # else the rating decides
            return frame[places]
    user, item = ([pl.col(name)] if is_coded(frame.schema[name]) else natural_order(name) for name in _IDS)
    return frame.sort([*user, pl.col("timestamp"), *item, pl.col("rating")], nulls_last=True)


def _packed_keys(frame: pl.DataFrame) -> NDArray[np.uint64] | None:
    """User, time and item of a row in one whole number, which sorts ten times as fast; None where 64 bits are few."""
    time = frame["timestamp"]
    if frame.is_empty() or 0 < time.null_count() < len(frame):
        return None
    keys, room = np.zeros(len(frame), dtype=np.uint64), 1
    for values in (codes(frame["user_id"]), time.fill_null(0).to_numpy(), codes(frame["item_id"])):
        lowest, highest = int(values.min()), int(values.max())
        room *= highest - lowest + 1
        if room > 2**63:
            return None
        keys = keys * np.uint64(highest - lowest + 1) + (values - values.dtype.type(lowest)).astype(np.uint64)
    return keys


def without_repeats(frame: pl.DataFrame, *, by_file: bool = False) -> pl.DataFrame:
    """Keep each user's first interaction with an item: the one that is there to be predicted.

    A later rating of the same item would have the answer, or nearly so, in its own history. "First" is by time and then
    by canonical order, or by place in the file with `by_file`. The order of the rows that stay is of no meaning.
    """
    coded = all(is_coded(frame.schema[name]) for name in _IDS)
    if coded and not len(repeated(pair_keys(frame["user_id"], frame["item_id"]))):
        return frame
    ordered = frame.sort("order") if by_file else canonical(frame)
    return ordered.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def user_blocks(frame: pl.DataFrame, rows: int = BLOCK_ROWS) -> Iterator[pl.DataFrame]:
    """Cut a table into blocks of whole users.

    Args:
        frame: Interactions with coded ids (`with_codes`), in any order.
        rows: About how many rows a block has; a user with more makes a larger one.

    Yields:
        At least one block. Users in natural order, a block's rows in the order of `frame`. Joined, they are
        `frame` again but for the order.
    """
    if frame.is_empty():
        yield frame
        return
    user = codes(frame["user_id"])
    counts = np.bincount(user, minlength=len(names(frame["user_id"])))
    block_of_user = (np.cumsum(counts) - counts) // rows
    block = block_of_user.astype(np.uint16 if block_of_user[-1] < 2**16 else np.uint32)[user]
    # Sorting numbers of 16 bits is one pass over them, so this costs the same per row for every size.
    places = np.argsort(block, kind="stable")
    sizes = np.bincount(block)
    del block, user
    end = 0
    for size in sizes[sizes > 0]:
        start, end = end, end + int(size)
        yield frame[places[start:end]]
