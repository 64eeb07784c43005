"""The user's own ratings and items, as CSV (any separator) or Parquet, with column names mapped by `SourceOptions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import sift
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.columns import TableFile, open_table, resolve_columns
from recalign.data.parsing.files import find_one
from recalign.data.reader import RatingsReader
from recalign.data.source import ITEM_COLUMNS, RATING_COLUMNS, SourceData, SourceOptions
from recalign.errors import ConfigError, DataError

LICENCE: Final = "your own data: recalign knows no terms for it"
BAD_FLAG: Final = "liked is neither yes nor no (1/0, true/false, yes/no)"

_RATINGS_FILES: Final = tuple(
    f"{stem}.{suffix}" for stem in ("ratings", "interactions") for suffix in ("csv", "tsv", "txt", "parquet")
)
_ITEMS_FILES: Final = tuple(f"items.{suffix}" for suffix in ("csv", "tsv", "txt", "parquet"))
_DETAILS: Final = ("year", "author", "genres")


def read_table(path: Path, options: SourceOptions) -> SourceData:
    """Read the user's ratings and items.

    `path` is the ratings file, or a folder with ``ratings.*`` or ``interactions.*`` and, maybe, ``items.*``. Titles
    come from the items file (``options.items``) or, without one, from the `title` column of the ratings. Further
    columns of the items file are kept under their own names.

    Ratings are any finite numbers (with a decimal comma where the separator is no comma); a `liked` column gives 1
    and 0; with neither, the rows are implicit events and their rating is null. Times are whole seconds or ISO dates;
    a time column that is blank throughout counts as none. Genres are separated by ``|`` where that occurs, else by
    commas.

    Raises:
        ConfigError: both `rating` and `liked` are there.
        DataError: a file or a needed column is missing, or no row is usable.
    """
    ratings_path = find_one(path, _RATINGS_FILES, "ratings file")
    items_path = options.items_file or _items_beside(path)
    builder = SourceBuilder()
    rename: Mapping[str, str] = {}
    if items_path is not None:
        rename = _read_items(builder, items_path, options)
    items = _read_ratings(builder, ratings_path, options, with_titles=items_path is None)
    return builder.build(LICENCE, items, rename=rename)


def _items_beside(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    return next((path / name for name in _ITEMS_FILES if (path / name).is_file()), None)


def _read_items(builder: SourceBuilder, path: Path, options: SourceOptions) -> dict[str, str]:
    """Add the items; return the final names of the further columns."""
    tally = builder.file(path)
    mapping = {name: theirs for name, theirs in options.columns.items() if name in ITEM_COLUMNS} | options.item_columns
    table = open_table(tally, options, mapping)
    soft = set(options.columns) - set(options.item_columns)
    places = resolve_columns(
        table.header,
        mapping,
        needed=("item_id", "title"),
        optional=_DETAILS,
        path=path,
        soft=soft,
        option="--item-columns",
    )
    extras = {
        f"c{place}": name
        for place, name in enumerate(table.header)
        if name and place not in places.values() and name not in ITEM_COLUMNS
    }
    _refuse_repeated(list(extras.values()), path)
    for rows in table.rows({**places, **{key: int(key[1:]) for key in extras}}):
        shaped = _item_details(rows.with_columns(fields.identifier("item_id"), fields.identifier("title")))
        builder.add_items(sift(shaped, fields.item_checks(), tally), tally)
    return extras


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(
            f"header of {path}", found=f"the column {repeated[0]!r} twice", expected="each column name once"
        )


def _item_details(rows: pl.DataFrame) -> pl.DataFrame:
    changes = []
    if "year" in rows.columns:
        whole = pl.col("year").str.strip_chars().str.extract(r"^(-?\d{1,4})(?:\.0*)?$").cast(pl.Int32)
        changes.append(pl.coalesce(whole, fields.year_in(pl.col("year"))).alias("year"))
    if "author" in rows.columns:
        changes.append(fields.identifier("author"))
    if "genres" in rows.columns:
        separator = "|" if rows["genres"].str.contains("|", literal=True).any() else ","
        names = pl.col("genres").str.split(separator).list.eval(pl.element().str.strip_chars())
        changes.append(names.list.eval(pl.element().filter(pl.element() != "")).alias("genres"))
    return rows.with_columns(changes)


@dataclass(frozen=True, slots=True)
class _RatingPlan:
    """What the ratings file offers."""

    places: dict[str, int]
    kind: str | None
    has_time: bool
    decimal_comma: bool


def _read_ratings(
    builder: SourceBuilder, path: Path, options: SourceOptions, *, with_titles: bool
) -> pl.DataFrame | None:
    """Add the ratings; return the items, where they stand in the ratings."""
    tally = builder.file(path)
    table = open_table(tally, options, options.columns)
    plan = _plan(table, options, path, with_titles=with_titles)
    titles = []
    for rows in table.rows(plan.places):
        kept = sift(_typed(rows, plan), _rating_checks(plan), tally)
        builder.add_ratings(kept, tally)
        if with_titles:
            named = kept.with_columns(fields.identifier("title")).filter(pl.col("title").is_not_null())
            named = named.select("item_id", "title", *[name for name in _DETAILS if name in kept.columns])
            titles.append(named.unique("item_id", keep="first", maintain_order=True))
    if not with_titles:
        return None
    return _item_details(pl.concat(titles).unique("item_id", keep="first", maintain_order=True))


def _plan(table: TableFile, options: SourceOptions, path: Path, *, with_titles: bool) -> _RatingPlan:
    needed: tuple[str, ...] = ("user_id", "item_id")
    optional: tuple[str, ...] = tuple(name for name in RATING_COLUMNS if name not in needed)
    if with_titles:
        needed, optional = (*needed, "title"), (*optional, *_DETAILS)
    places = resolve_columns(
        table.header, options.columns, needed=needed, optional=optional, path=path, soft=(), option="--columns"
    )
    if "rating" in places and "liked" in places:
        raise ConfigError(
            f"ratings in {path}",
            found=f"columns for both rating ({table.header[places['rating']]}) and liked",
            expected="one of them",
            hint="Switch one off by mapping it to an empty name, e.g. --columns liked=",
        )
    kind = next((name for name in ("rating", "liked") if name in places), None)
    return _RatingPlan(places, kind, "timestamp" in places, table.separator not in (",", None))


def _typed(rows: pl.DataFrame, plan: _RatingPlan) -> pl.DataFrame:
    changes = [fields.identifier("user_id"), fields.identifier("item_id")]
    if plan.kind == "rating":
        changes.append(fields.number("rating", decimal_comma=plan.decimal_comma))
    elif plan.kind == "liked":
        changes.append(fields.yes_no("liked").alias("rating"))
    if plan.has_time:
        changes += [(pl.col("timestamp").str.strip_chars() == "").alias("timeless"), fields.seconds("timestamp", "any")]
    return rows.with_columns(changes)


def _rating_checks(plan: _RatingPlan) -> list[tuple[pl.Expr, str]]:
    checks = fields.id_checks()
    if plan.kind == "rating":
        checks += fields.RatingScale().checks()
    elif plan.kind == "liked":
        checks.append((pl.col("rating").is_null(), BAD_FLAG))
    if plan.has_time:
        checks += [(condition & ~pl.col("timeless"), reason) for condition, reason in fields.time_checks()]
    return checks


PLUGIN: Final = RatingsReader(
    licence=LICENCE,
    options=frozenset({"columns", "item_columns", "separator", "encoding", "items"}),
    read=read_table,
)
