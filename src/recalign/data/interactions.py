"""The table of interactions: its checks, its canonical order, repeats, and blocks of users.

The canonical order is that of user and time. Events of a user at the same time have no order of their own, and with
timestamps in days or seconds there are many: which of them comes last decides what is predicted. They are put into the
order of a hash of (order seed, user, item, time). So the order depends neither on where the rows stood in a file nor
on how large or small an id is; another order seed gives another one of the possible orders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.codes import codes, encode, is_coded, knows, names, pair_keys, repeated
from recalign.data.sample_ids import Hashes, mix, text_hashes
from recalign.data.schema import INTERACTIONS
from recalign.errors import DataError
from recalign.seeding import generator

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


def canonical(frame: pl.DataFrame, order_seed: int = 0) -> pl.DataFrame:
    """Sort by user (natural order) and time, missing times last; ties by the hash, and then by rating.

    Rows that still tie are equal.

    Args:
        frame: Interactions with coded ids (`with_codes`).
        order_seed: Which of the possible orders of events at the same time.
    """
    keys = _user_and_time(frame)
    places = np.argsort(keys, kind="stable")
    ordered = keys[places]
    with_next = np.append(ordered[1:] == ordered[:-1], False)
    tied = np.flatnonzero(with_next | np.roll(with_next, 1))
    rows = places[tied]
    rating = frame["rating"].gather(rows).fill_null(np.inf).to_numpy()
    places[tied] = rows[np.lexsort((rating, _tie_hashes(frame[rows], order_seed), keys[rows]))]
    return frame[places]


def _user_and_time(frame: pl.DataFrame) -> NDArray[np.uint64]:
    """One whole number per row, ordered as user and time are: one sort of these is much faster than one of both."""
    user, time = codes(frame["user_id"]).astype(np.uint64), frame["timestamp"]
    known = time.drop_nulls().to_numpy()
    first = known.min(initial=2**62)
    unit = max(1, int(np.gcd.reduce(known - first)))  # most times are whole seconds, and seconds leave room for users
    last = int(known.max(initial=first) - first) // unit + 1  # where there is no time
    times = ((time - first) // unit).fill_null(last).to_numpy()
    if (int(user.max(initial=0)) + 1) * (last + 1) > 2**63:
        times, last = np.unique(times, return_inverse=True)[1], len(times)
    keys: NDArray[np.uint64] = user * np.uint64(last + 1) + times.astype(np.uint64)
    return keys


def _tie_hashes(rows: pl.DataFrame, order_seed: int) -> Hashes:
    """The hash of (order seed, user, item, time) per row."""
    hashes: Hashes = np.full(len(rows), generator(order_seed, "split", "ties").integers(0, 2**64, dtype=np.uint64))
    for name in ("user_id", "item_id"):
        occurring, place = np.unique(codes(rows[name]), return_inverse=True)
        hashes = mix(hashes ^ text_hashes(names(rows[name]).gather(occurring))[place])
    return mix(hashes ^ rows["timestamp"].fill_null(0).to_numpy().view(np.uint64))


def without_repeats(frame: pl.DataFrame, *, by_file: bool = False) -> pl.DataFrame:
    """Keep each user's first interaction with an item: the one that is there to be predicted.

    A later rating of the same item would have the answer, or nearly so, in its own history. "First" is by time and then
    by rating, or by place in the file with `by_file`. Ids are coded (`with_codes`). The order of the rows that stay
    has no meaning.
    """
    if not len(repeated(pair_keys(frame["user_id"], frame["item_id"]))):
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
