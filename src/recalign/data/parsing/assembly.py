"""From parsed rows to `SourceData`: rows of unknown items, timeless and repeated rows leave; the accounts are closed.

**Times.** Either every rating has a time or none has: where only some have one, the others are rejected as `NO_TIME`.

**Repeated rows.** A user has one opinion of an item, and two rows of one pair would put a target into its own
history. Of the rows of a pair the *latest* stays (of equal times the higher rating, so that the choice does not
depend on the order of the file; of equal rows the first; without times the last of the input). Of the others, those
equal to it in rating and time are rejected as `DUPLICATE`, the rest as `SUPERSEDED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recalign.data.codes import encode, into_enum, natural_enum, pair_keys, repeated
from recalign.data.parsing.accounting import FileTally, NothingLeft, RejectLedger
from recalign.data.parsing.containers import InputFile
from recalign.data.schema import INTERACTIONS, ITEMS
from recalign.data.source import SourceData
from recalign.errors import DataError

NO_TIME: Final = "missing time (other ratings have one)"
UNKNOWN_ITEM: Final = "unknown item"
DUPLICATE: Final = "duplicate"
SUPERSEDED: Final = "superseded by another rating of the same user and item"
DUPLICATE_ITEM: Final = "item id occurs before"

# Beside the two ids, which are Categorical while files are read: a row of 100 million takes 34 bytes.
_ROWS: Final[dict[str, pl.DataType]] = {
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
    "file": pl.UInt32(),
    "line": pl.UInt32(),
    "lines": pl.UInt16(),
}


class SourceBuilder:
    """Collects the parsed rows of one dataset.

    Attributes:
        ledger: What was rejected so far.
        time_form: `SourceData.time_form`.
    """

    def __init__(self) -> None:
        self.ledger, self.time_form = RejectLedger(), ""
        names = ("user_id", "item_id")
        self._ids = {name: pl.Categorical(pl.Categories.random("recalign", pl.UInt32)) for name in names}
        self._tallies: list[FileTally] = []
        self._names: set[str] = set()
        self._ratings: list[pl.DataFrame] = []
        self._items: list[pl.DataFrame] = []

    def file(self, source: Path | InputFile) -> FileTally:
        """Open the account of a file. It is called by its name; where another one has that, with its folder."""
        path = source if isinstance(source, Path) else source.path
        names = (path.name, f"{path.parent.name}/{path.name}", str(path))
        name = next((name for name in names if name not in self._names), names[-1])
        self._names.add(name)
        tally = FileTally(source, len(self._tallies), self.ledger, name=name)
        self._tallies.append(tally)
        return tally

    def add_ratings(self, rows: pl.DataFrame, tally: FileTally) -> None:
        """Add accepted ratings: `user_id`, `item_id`, `line`, `lines`, and any `rating`, `timestamp`."""
        rows = rows.with_columns(pl.lit(tally.number).alias("file"))
        held = [
            (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in {**self._ids, **_ROWS}.items()
        ]
        self._ratings.append(rows.select(held))

    def add_items(self, rows: pl.DataFrame, tally: FileTally) -> None:
        """Add accepted items: columns of `schema.ITEMS` (absent ones become null) and others, `line`, `lines`."""
        self._items.append(_completed(rows.drop("text").with_columns(pl.lit(tally.number, pl.Int32).alias("file"))))

    def build(
        self, licence: str, items: pl.DataFrame | None = None, *, rename: Mapping[str, str] | None = None
    ) -> SourceData:
        """Close the books.

        Args:
            licence: Terms of use, one line.
            items: The catalogue (`item_id`, `title`, others), where it was not given through `add_items`.
            rename: Final names of item columns, for those that would collide with the columns of the books.

        Raises:
            NothingLeft: no rating is left; the message names the most frequent reasons.
            DataError: ids stand there both as 17 and as 17.0.
        """
        catalogue = self._catalogue() if items is None else _completed(items)
        ratings = self._known(natural_enum(catalogue["item_id"]))
        timeless = ratings["timestamp"].is_null()
        if not timeless.all():
            ratings = self._without(ratings, timeless, NO_TIME)
        ratings, repeats = drop_repeats(ratings)
        self._demote(repeats)
        accounts = tuple(tally.account() for tally in self._tallies)
        if ratings.is_empty():
            raise self._nothing_left()
        interactions = _whole(ratings.drop("file", "line", "lines"))
        catalogue = catalogue.rename(rename or {})
        return SourceData(interactions.select(*INTERACTIONS), catalogue, accounts, self.ledger, licence, self.time_form)

    def _known(self, items: pl.Enum) -> pl.DataFrame:
        """All ratings of these items, their ids as Enums."""
        ratings = pl.concat(self._ratings) if self._ratings else pl.DataFrame(schema={**self._ids, **_ROWS})
        self._ratings = []
        _refuse_two_spellings("user", ratings["user_id"].unique().cast(pl.String))
        _refuse_two_spellings("item", pl.concat([ratings["item_id"].unique().cast(pl.String), items.categories]))
        coded = into_enum(ratings["item_id"], items)
        ratings = self._without(ratings, coded.is_null(), UNKNOWN_ITEM)
        return ratings.with_columns(encode([ratings["user_id"]])[0], coded.drop_nulls())

    def _without(self, rows: pl.DataFrame, wrong: pl.Series, reason: str) -> pl.DataFrame:
        if not wrong.any():
            return rows
        self._demote(rows.filter(wrong).with_columns(pl.lit(reason).alias("reason")))
        return rows.filter(~wrong)

    def _catalogue(self) -> pl.DataFrame:
        items = pl.concat(self._items, how="diagonal")
        items = self._without(items, ~items["item_id"].is_first_distinct(), DUPLICATE_ITEM)
        return items.drop("file", "line", "lines")

    def _demote(self, rows: pl.DataFrame) -> None:
        """Reject rows that were accepted; the ledger shows their parsed values, as the line itself is long gone."""
        if rows.is_empty():
            return
        shown = [name for name in ("user_id", "item_id", "rating", "timestamp", "title") if name in rows.columns]
        values = [pl.col(name).cast(pl.String).fill_null("") for name in shown]
        rows = rows.with_columns(pl.concat_str(values, separator=",").alias("text"))
        for (number,), part in rows.group_by("file", maintain_order=True):
            self._tallies[int(str(number))].demote(part)

    def _nothing_left(self) -> NothingLeft:
        paths = ", ".join(str(tally.path) for tally in self._tallies[:3])
        return NothingLeft(
            f"no usable rating in {paths}",
            self.ledger,
            expected="at least one rating of an item that has a title",
            hint="Check that these are the ratings and items of one dataset",
        )


def _refuse_two_spellings(what: str, ids: pl.Series) -> None:
    """Refuse ids of which one is written as whole number here and as 17.0 there: they would be two users or items."""
    whole = ids.filter(ids.str.contains(r"^-?\d+\.0+$")).unique()
    if len(whole) and len(twice := whole.filter(whole.str.replace(r"\.0+$", "").is_in(ids.implode())).sort()):
        shown = ", ".join(f"{name!r} beside {name.partition('.')[0]!r}" for name in twice.head(3))
        raise DataError(
            f"{what} ids in two spellings",
            found=f"{shown}{f' and {len(twice) - 3} more' if len(twice) > 3 else ''}",
            expected="each id written alike in all rows and files",
            hint="Write them as whole numbers: a column with blanks becomes floats in some programs",
        )


def _completed(items: pl.DataFrame) -> pl.DataFrame:
    """All columns of `schema.ITEMS` first, absent ones null, then the others."""
    absent = [pl.lit(None, kind).alias(name) for name, kind in ITEMS.items() if name not in items.columns]
    return items.with_columns(absent).select(*ITEMS, pl.exclude(*ITEMS))


def drop_repeats(ratings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep one row per (user, item), see the module's docstring.

    Args:
        ratings: `user_id` and `item_id` (Enums), `rating`, `timestamp` and others.

    Returns:
        The rows that stay, in their order; the rows that leave, with `reason`.
    """
    keys = pair_keys(ratings["user_id"], ratings["item_id"])
    if not len(again := repeated(keys)):
        return ratings, ratings.clear().with_columns(pl.lit("").alias("reason"))
    rows = ratings.with_row_index("place").filter(pl.Series(np.isin(keys, again)))
    timed = pl.col("timestamp").is_not_null()
    tie_break = pl.when(timed).then(pl.col("rating"))
    place = pl.col("place").cast(pl.Int64)
    earliest = pl.when(timed).then(-place).otherwise(place)
    latest = rows.sort("timestamp", tie_break, earliest, nulls_last=False).with_columns(
        pl.col("place", "rating", "timestamp").last().over("user_id", "item_id").name.prefix("last_")
    )
    same = pl.col("rating").eq_missing(pl.col("last_rating")) & pl.col("timestamp").eq_missing(pl.col("last_timestamp"))
    leaving = (
        latest.filter(pl.col("place") != pl.col("last_place"))
        .with_columns(pl.when(same).then(pl.lit(DUPLICATE)).otherwise(pl.lit(SUPERSEDED)).alias("reason"))
        .sort("place")
    )
    staying = np.ones(len(ratings), dtype=bool)
    staying[leaving["place"].to_numpy()] = False
    return ratings.filter(pl.Series(staying)), leaving.select(*ratings.columns, "reason")


def _whole(ratings: pl.DataFrame) -> pl.DataFrame:
    """The rows numbered in column `order`, each column in one piece: later steps take rows from all over the table."""
    columns = [pl.int_range(len(ratings), dtype=pl.Int64, eager=True).alias("order")]
    for name in ratings.columns:  # one after another, so that only one stands in memory twice
        columns.append(ratings[name].rechunk())
        ratings = ratings.drop(name)
    return pl.DataFrame(columns)
