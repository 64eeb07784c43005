"""From a table of events to the histories of a shard's users, with the books of what was left out and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from recalign.bulk.spool import Spool
from recalign.data.catalog import ItemCatalog
from recalign.data.codes import natural_order
from recalign.data.feedback import FeedbackConfig, likes
from recalign.data.interactions import canonical, with_codes
from recalign.data.parsing.accounting import NothingLeft
from recalign.data.parsing.assembly import SourceBuilder, drop_repeats
from recalign.data.parsing.files import part_files
from recalign.data.readers.table import rating_rows
from recalign.data.schema import HistoryEntry
from recalign.data.source import SourceOptions
from recalign.errors import ConfigError

EVENTS: Final[dict[str, pl.DataType]] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
}
PAIRS: Final[dict[str, pl.DataType]] = {"user_id": pl.String(), "item_id": pl.String()}
REJECTS: Final[dict[str, pl.DataType]] = {"user_id": pl.String(), "reason": pl.String()}

NO_EVENT: Final = "no event"
NO_KNOWN_ITEM: Final = "no event with an item of the catalogue"
NO_TIME: Final = "no event with a time (others have one)"
_PAIR_COLUMNS: Final = dict.fromkeys(("rating", "liked", "timestamp"), "")  # switched off


@dataclass
class EventReader:
    """Reads a table of events, or of pairs, into a spool.

    Attributes:
        path: The table: a file, or a folder of numbered part files.
        options: What its columns are called, and so on.
        like_above: Ratings above this are likes.
        feedback: What counts as liked, as the columns of the table have it.
        timed: Whether any event has a time; those that have none are then left out.
    """

    path: Path
    options: SourceOptions
    like_above: float | None = None
    feedback: FeedbackConfig | None = field(default=None, init=False)
    timed: bool = field(default=False, init=False)

    def read(self, builder: SourceBuilder, spool: Spool, check: Callable[[], None]) -> None:
        """Read all events; `check` is called after each block. Rows that cannot be read go to the builder's ledger.

        Raises:
            DataError: The table is missing, damaged or holds no usable row.
            ConfigError: It has ratings and there is no `like_above`, or the other way round.
        """
        usable = 0
        for _, rows in rating_rows(builder, part_files(self.path, "a table of events"), self.options):
            if self.feedback is None:
                self.feedback = self._feedback(rows.columns)
            absent = [pl.lit(None, kind).alias(name) for name, kind in EVENTS.items() if name not in rows.columns]
            rows = rows.with_columns(absent)
            self.timed = self.timed or rows["timestamp"].null_count() < len(rows)
            usable += len(rows)
            spool.add(rows)
            check()
        spool.flush()
        if not usable:
            hint = "Check the columns: --columns user_id=NAME, and the separator: --separator ';'"
            raise NothingLeft(f"no usable event in {self.path}", builder.ledger, expected="at least one", hint=hint)

    @property
    def likes(self) -> FeedbackConfig:
        """What counts as liked, once it is read."""
        assert self.feedback is not None
        return self.feedback

    def _feedback(self, columns: Sequence[str]) -> FeedbackConfig:
        rated = "rating" in columns and "liked" not in columns
        if rated and self.like_above is None:
            hint = "Name it: --like-above 3.5, or leave the ratings out: --columns rating="
            raise ConfigError(f"ratings in {self.path}", found="no --like-above", expected="what is a like", hint=hint)
        if self.like_above is not None and not rated:
            found = "likes" if "liked" in columns else "events without ratings"
            raise ConfigError(f"--like-above {self.like_above:g} for {self.path}", found=found, expected="ratings")
        kind = "explicit" if rated else "binary" if "liked" in columns else "implicit"
        return FeedbackConfig.model_validate({"kind": kind, "like_above": self.like_above})


def read_pairs(path: Path, builder: SourceBuilder, spool: Spool, check: Callable[[], None]) -> None:
    """Read a table with `user_id` and `item_id`. Raises DataError where it is missing, damaged or has no usable row."""
    usable = 0
    for _, rows in rating_rows(builder, part_files(path, "a table of pairs"), SourceOptions(columns=_PAIR_COLUMNS)):
        usable += len(rows)
        spool.add(rows)
        check()
    spool.flush()
    if not usable:
        hint = "Check the columns: user_id,item_id"
        raise NothingLeft(f"no usable pair in {path}", builder.ledger, expected="at least one", hint=hint)


@dataclass(frozen=True)
class ShardHistories:
    """The histories of one shard.

    Attributes:
        events: `user_id`, `item_id`, `liked` and `rating`: users in natural order, each one's events the oldest first.
        rejects: `user_id` and `reason` of the users who have no event left, in the same order.
        counts: How many events there were, and how many were left out for which reason.
    """

    events: pl.DataFrame
    rejects: pl.DataFrame
    counts: dict[str, int]

    @classmethod
    def of(cls, rows: pl.DataFrame, catalog: ItemCatalog, feedback: FeedbackConfig, *, timed: bool) -> ShardHistories:
        """Sort out the events of a shard, which have the columns of `EVENTS` and are in the order of the input.

        Of several events of one user and item the latest stays, as in prepared data.
        """
        known = rows.filter(pl.col("item_id").is_in(catalog.frame["item_id"].implode()))
        usable = known.filter(pl.col("timestamp").is_not_null()) if timed else known
        coded = with_codes(usable)
        kept, repeats = drop_repeats(coded)
        if timed:
            kept = canonical(kept)
        else:
            kept = kept.sort("user_id", maintain_order=True)  # codes stand in natural order
        events = kept.with_columns(likes(kept, feedback)).select(
            pl.col("user_id", "item_id").cast(pl.String), "liked", "rating"
        )
        counts = {
            "events": len(rows),
            "of_unknown_items": len(rows) - len(known),
            "without_time": len(known) - len(usable),
            "repeated": len(repeats),
        }
        return cls(events, _without_history(rows, known, usable), counts)

    def users(self) -> Iterator[tuple[str, tuple[HistoryEntry, ...]]]:
        """Each user with all their events, the oldest first."""
        columns = (self.events[name].to_list() for name in ("item_id", "liked", "rating"))
        entries = [HistoryEntry(*row) for row in zip(*columns, strict=True)]
        users = self.events["user_id"].rle()
        start = 0
        for user_id, length in zip(users.struct.field("value"), users.struct.field("len"), strict=True):
            yield user_id, tuple(entries[start : start + length])
            start += length


def _without_history(rows: pl.DataFrame, known: pl.DataFrame, usable: pl.DataFrame) -> pl.DataFrame:
    users = rows.select(pl.col("user_id").unique())
    users = users.filter(~pl.col("user_id").is_in(usable["user_id"].unique().implode()))
    has_item = pl.col("user_id").is_in(known["user_id"].unique().implode())
    reason = pl.when(has_item).then(pl.lit(NO_TIME)).otherwise(pl.lit(NO_KNOWN_ITEM)).alias("reason")
    return users.with_columns(reason).sort(natural_order("user_id"))


@dataclass(frozen=True)
class ShardPairs:
    """The pairs of one shard.

    Attributes:
        wanted: The items to score for each user, each once, in natural order.
        events: The events of these users.
        rejects: `user_id` and `reason` of those who have no event at all.
        counts: How many pairs there were, and how many were left out for which reason.
    """

    wanted: dict[str, list[str]]
    events: pl.DataFrame
    rejects: pl.DataFrame
    counts: dict[str, int]

    @classmethod
    def of(cls, pairs: pl.DataFrame, events: pl.DataFrame, catalog: ItemCatalog) -> ShardPairs:
        """Sort out the pairs of a shard (columns of `PAIRS`) beside its events (columns of `EVENTS`)."""
        known = pairs.filter(pl.col("item_id").is_in(catalog.frame["item_id"].implode()))
        distinct = known.unique().sort([*natural_order("user_id"), *natural_order("item_id")])
        wanted = dict(distinct.group_by("user_id", maintain_order=True).agg("item_id").iter_rows())
        asked = pairs.select(pl.col("user_id").unique())
        eventless = asked.filter(~pl.col("user_id").is_in(events["user_id"].unique().implode()))
        counts = {
            "pairs": len(pairs),
            "pairs_of_unknown_items": len(pairs) - len(known),
            "repeated_pairs": len(known) - len(distinct),
        }
        return cls(
            wanted,
            events.filter(pl.col("user_id").is_in(asked["user_id"].implode())),
            eventless.with_columns(pl.lit(NO_EVENT).alias("reason")).sort(natural_order("user_id")),
            counts,
        )
