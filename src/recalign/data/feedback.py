"""What counts as "liked": ratings above a threshold, a binary column, or events without a rating and seeded negatives.

`label_coded` adds three columns to the interactions: ``liked``; ``negative`` (a sampled item that the user never
interacted with); and ``event``, the row's place in the canonical order. A negative carries the event of its positive,
so every protocol gives both the same position and the same history.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recalign.data.interactions import canonical
from recalign.data.sample_ids import Hashes, mix, text_hashes
from recalign.errors import DataError
from recalign.seeding import generator

FeedbackKind = Literal["explicit", "binary", "implicit"]


class FeedbackConfig(BaseModel):
    """How interactions become likes and dislikes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FeedbackKind = Field("explicit", description="Ratings, a binary column, or events without a rating.")
    like_above: float | None = Field(
        None, allow_inf_nan=False, description="Explicit feedback: ratings above this are likes (half stars work)."
    )
    negatives: int = Field(
        1, ge=1, le=1000, description="Implicit feedback: sampled items per event that the user never interacted with."
    )
    negatives_in_history: bool = Field(
        False, description="Implicit feedback: show earlier sampled items in histories, as disliked."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "explicit" and self.like_above is None:
            raise ValueError(
                "ratings without a threshold; expected --like-above, for example --like-above 3.5 (ratings above it "
                "are likes), or --feedback binary (a yes/no column) or implicit (events without ratings)"
            )
        if self.kind != "explicit" and self.like_above is not None:
            raise ValueError(f"like_above is for explicit feedback, and the feedback is {self.kind}")
        if self.kind != "implicit" and self.negatives_in_history:
            raise ValueError(f"negatives_in_history is for implicit feedback, and the feedback is {self.kind}")
        return self


def label_coded(
    interactions: pl.DataFrame,
    config: FeedbackConfig,
    *,
    item_ids: Collection[str] = (),
    seed: int = 0,
    order_seed: int = 0,
) -> pl.DataFrame:
    """Label every interaction and, for implicit feedback, add negatives.

    Args:
        interactions: Checked (`check_interactions`), and with coded ids (`with_codes`, with `item_ids`). Binary
            feedback has ratings of 0 and 1.
        config: The kind of feedback and its parameters.
        item_ids: The catalogue that negatives are drawn from, uniformly (implicit feedback only).
        seed: Root seed of the negatives; a user's depend on it, on the user's rows and on the catalogue, not on the
            order of either, nor on other users.
        order_seed: Which of the possible orders of events at the same time (`canonical`).

    Returns:
        The rows in canonical order with ``liked``, ``negative`` and ``event``; negatives (rating null) follow their
        positive and have its time and ``order``.

    Raises:
        DataError: the interactions lack what the kind of feedback needs, or a user has hardly any item left that could
            be a negative.
    """
    rows = canonical(interactions.with_columns(likes(interactions, config)), order_seed).with_columns(
        pl.lit(False).alias("negative"), pl.int_range(pl.len(), dtype=pl.Int64).alias("event")
    )
    if config.kind != "implicit":
        return rows
    negatives = _sample_negatives(rows, pl.Series(list(item_ids), dtype=pl.String), config.negatives, seed)
    return pl.concat([rows, negatives]).sort("event", "negative", maintain_order=True)


def likes(interactions: pl.DataFrame, config: FeedbackConfig) -> pl.Series:
    """Column ``liked`` of the interactions.

    Raises:
        DataError: they lack what the kind of feedback needs; the message counts all that do.
    """
    rating = interactions["rating"].alias("liked")
    if config.kind == "implicit":
        return pl.repeat(True, len(rating), dtype=pl.Boolean, eager=True).alias("liked")
    if config.kind == "binary":
        odd = rating.filter(~rating.is_in([0.0, 1.0]).fill_null(False))
        if len(odd):
            raise DataError(
                "binary feedback needs 0 or 1 in every row",
                found=f"{len(odd)} other values, the first is {odd[0]}",
                hint="Use --feedback explicit --like-above X for ratings on a scale.",
            )
        return rating == 1.0
    if missing := rating.null_count():
        raise DataError(
            "explicit feedback needs a rating in every row",
            found=f"{missing} of {len(rating)} rows without one",
            hint="Use --feedback implicit for events without ratings, or --feedback binary for a yes/no column.",
        )
    return rating > config.like_above


def _sample_negatives(rows: pl.DataFrame, catalogue: pl.Series, count: int, seed: int) -> pl.DataFrame:
    """`count` distinct items per row, uniform over the catalogue items that the row's user never interacted with."""
    items = rows["item_id"].dtype
    assert isinstance(items, pl.Enum)
    universe = catalogue.unique().cast(items).sort()
    place = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(items.categories))
    place = place.scatter(universe.to_physical(), np.arange(len(universe)))
    coded = pl.DataFrame({"user": rows["user_id"].rle_id(), "item": place.gather(rows["item_id"].to_physical())})
    if unknown := coded["item"].null_count():
        raise DataError("interactions with items that are not in the catalogue", found=f"{unknown} rows")
    seen = coded.unique().sort("user", "item")
    users, first, owned = np.unique(seen["user"].to_numpy(), return_index=True, return_counts=True)
    free = len(universe) - owned.astype(np.int64)
    if free.min() < count:
        poor = rows["user_id"].filter(coded["user"] == users[free.argmin()])[0]
        raise DataError(
            f"user {poor!r} has too few items left for {count} negatives per event",
            found=f"{free.min()} of {len(universe)} catalogue items without an interaction",
            hint="Ask for fewer negatives, or leave such users out.",
        )
    of_row = coded["user"].to_numpy().astype(np.int64)
    ranks = _distinct_draws(free[of_row], count, _row_keys(rows, seed))
    picked = _nth_unseen(ranks, of_row, seen["item"].to_numpy(), first, owned, len(universe))
    repeated = rows[np.repeat(np.arange(len(rows)), count)]
    return repeated.with_columns(
        universe.gather(picked.ravel()).alias("item_id"),
        pl.lit(None, pl.Float64).alias("rating"),
        pl.lit(False).alias("liked"),
        pl.lit(True).alias("negative"),
    )


def _row_keys(rows: pl.DataFrame, seed: int) -> Hashes:
    """A random number per row that depends on the seed, the user and the row's place among the user's rows.

    A stream of draws would give a user's rows other numbers where another user is left out, or where the table is
    worked on in other blocks.
    """
    run = rows["user_id"].rle()
    user = text_hashes(run.struct.field("value").cast(pl.String))
    lengths = run.struct.field("len").to_numpy().astype(np.int64)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    root = generator(seed, "feedback", "negatives").integers(0, 2**64, dtype=np.uint64)
    return mix(np.repeat(mix(user ^ root), lengths) ^ place.astype(np.uint64))


def _distinct_draws(sizes: NDArray[np.int64], count: int, keys: Hashes) -> NDArray[np.int64]:
    """Per row `count` different integers below its size, ascending, every set equally likely; shape (rows, count)."""
    drawn = np.empty((len(sizes), 0), dtype=np.int64)
    for taken in range(count):
        keys = mix(keys)  # of 64 bits, so that the remainder favours no value by more than size / 2^64
        value = (keys % (sizes - taken).astype(np.uint64)).astype(np.int64)
        for column in range(taken):  # step over the values already taken, from the smallest on
            value += value >= drawn[:, column]
        drawn = np.sort(np.column_stack([drawn, value]), axis=1)
    return drawn


def _nth_unseen(
    ranks: NDArray[np.int64],
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    first: NDArray[np.intp],
    owned: NDArray[np.intp],
    n_items: int,
) -> NDArray[np.int64]:
    """The `ranks`-th item (from 0) that is not among a user's own; `items` holds each user's own, ascending.

    Before the j-th own item s_j stand s_j - j others, so the r-th other item is r plus the number of j with
    s_j - j <= r: one binary search over all users at once, with no rejected draw.
    """
    owner = np.repeat(np.arange(len(first)), owned)
    others_before = items - (np.arange(len(items)) - first[owner])
    keys = owner * (n_items + 1) + others_before
    passed = np.searchsorted(keys, users[:, None] * (n_items + 1) + ranks, side="right") - first[users][:, None]
    return ranks + passed
