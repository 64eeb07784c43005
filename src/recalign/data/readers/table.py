"""The user's own ratings and items: CSV, JSON Lines or Parquet, with column names mapped by `SourceOptions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import FileTally, sift
from recalign.data.parsing.assembly import NO_TIME, UNKNOWN_ITEM, SourceBuilder
from recalign.data.parsing.columns import TableFile, TableOptions, place_of, resolve_columns
from recalign.data.parsing.files import find_table, part_files
from recalign.data.parsing.json_lines import NESTED, NO_OBJECT
from recalign.data.parsing.records import MALFORMED, UNREADABLE
from recalign.data.parsing.tables import open_tables
from recalign.data.parsing.times import BAD_TIME, TimeColumn, time_checks
from recalign.data.reader import RatingsReader
from recalign.data.source import ITEM_COLUMNS, SourceData, SourceOptions
from recalign.errors import ConfigError, DataError, did_you_mean_path

LICENCE: Final = "your own data: recalign knows no terms for it"
BAD_FLAG: Final = "liked is neither yes nor no (1/0, true/false, yes/no)"

_SUFFIXES: Final = ("csv", "tsv", "txt", "parquet", "jsonl", "ndjson")
_DETAILS: Final = ("year", "author", "genres")


def read_table(path: Path, options: SourceOptions) -> SourceData:
    """Read the user's ratings and items.

    `path` is the ratings file, or a folder with ``ratings.*`` or ``interactions.*`` and, maybe, ``items.*``. Each of
    them is a file, plain, gzip or zip, or a pipe, or a folder of numbered part files; so may be `path`. Titles come
    from the items file (``options.items``) or, without one, from the `title` column of the ratings. Further columns of
    the items file are kept under their own names.

    Ratings are any finite numbers (with a decimal comma where the separator is no comma); a `liked` column gives 1
    and 0; with neither, the rows are implicit events and their rating is null. Times are those of `parsing.times`; a
    time column that is blank throughout counts as none. Genres are separated by ``|`` where that occurs, else by
    commas.

    Raises:
        ConfigError: both `rating` and `liked` are there.
    """
    if not path.exists():
        expected = "a ratings file, or the folder that holds it"
        raise DataError(str(path), found="nothing there", expected=expected, hint=did_you_mean_path(path))
    is_folder = path.is_dir()
    ratings_path = (find_table(path, ("ratings", "interactions"), _SUFFIXES) if is_folder else None) or path
    items_path = options.items_file or (find_table(path, ("items",), _SUFFIXES) if is_folder else None)
    parts = part_files(ratings_path, "ratings.csv (or .tsv, .txt, .parquet, .jsonl)", but=items_path)
    builder = SourceBuilder()
    rename = _read_items(builder, items_path, options) if items_path else {}
    items = _read_ratings(builder, parts, options, with_titles=items_path is None)
    return builder.build(LICENCE, items, rename=rename)


def _read_items(builder: SourceBuilder, path: Path, options: SourceOptions) -> dict[str, str]:
    """Add the items; return the final names of the further columns."""
    extras: dict[str, str] = {}
    for tally, table in open_tables(builder, part_files(path, "items"), TableOptions.of(options, items=True)):
        places = _item_places(table, options)
        extras = {
            f"c{place_of(name, table)}": name
            for place, name in enumerate(table.header)
            if name and place not in places.values() and name not in ITEM_COLUMNS
        }
        for rows in table.rows({**places, **{key: int(key[1:]) for key in extras}}):
            _refuse_rounded_ids(rows, table.path)
            shaped = _item_details(rows.with_columns(fields.own_identifier("item_id"), fields.identifier("title")))
            builder.add_items(sift(shaped, fields.item_checks(), tally), tally)
    return extras


def _item_places(table: TableFile, options: SourceOptions) -> dict[str, int]:
    # What the ratings' mapping says and this file does not have was meant for the other one.
    shared = {name: theirs for name, theirs in options.columns.items() if theirs in table.header}
    return resolve_columns(
        table,
        shared | options.item_columns,
        needed=("item_id", "title"),
        optional=_DETAILS,
        flag="--item-columns",
        shared=options.columns,
    )


def _refuse_rounded_ids(rows: pl.DataFrame, path: Path) -> None:
    """Refuse ids such as 1.23457E+12, which a spreadsheet has made of many different ones."""
    for name in ("user_id", "item_id"):
        if name in rows.columns:
            rounded = rows.filter(pl.col(name).str.contains(r"^\s*\d(?:\.\d+)?[eE]\+\d+\s*$"))
            if len(rounded):
                raise DataError(
                    f"column for {name} of {path}",
                    found=f"{rounded[name][0].strip()!r} in line {rounded['line'][0]}, which has lost digits",
                    expected="whole ids",
                    hint="Export the column as text",
                )


def _item_details(rows: pl.DataFrame) -> pl.DataFrame:
    changes = []
    if "year" in rows.columns:
        whole = pl.col("year").str.strip_chars().str.extract(r"^(-?\d{1,4})(?:\.0*)?$").cast(pl.Int32)
        changes.append(pl.coalesce(whole, fields.year_in(pl.col("year"))).alias("year"))
    if "author" in rows.columns:
        changes.append(fields.own_identifier("author"))
    if "genres" in rows.columns:
        separator = "|" if rows["genres"].str.contains("|", literal=True).any() else ","
        names = pl.col("genres").str.split(separator).list.eval(pl.element().str.strip_chars())
        is_name = ~pl.element().str.to_lowercase().is_in(["", *fields.PLACEHOLDERS])
        changes.append(names.list.eval(pl.element().filter(is_name)).alias("genres"))
    return rows.with_columns(changes)


def _read_ratings(
    builder: SourceBuilder, parts: list[Path], options: SourceOptions, *, with_titles: bool
) -> pl.DataFrame | None:
    """Add the ratings; return the items, where they stand in the ratings."""
    titles = []
    for tally, kept in rating_rows(builder, parts, options, with_titles=with_titles):
        builder.add_ratings(kept, tally)
        if with_titles:
            named = kept.with_columns(fields.identifier("title")).filter(pl.col("title").is_not_null())
            named = named.select("item_id", "title", *[name for name in _DETAILS if name in kept.columns])
            titles.append(named.unique("item_id", keep="first", maintain_order=True))
    if not with_titles:
        return None
    return _item_details(pl.concat(titles).unique("item_id", keep="first", maintain_order=True))


def rating_rows(
    builder: SourceBuilder, parts: Sequence[Path], options: SourceOptions, *, with_titles: bool = False
) -> Iterator[tuple[FileTally, pl.DataFrame]]:
    """The accepted rows of a table of ratings, block by block, with the account of their file.

    Args:
        builder: Where accounts are opened and rejected rows go. When all is read it knows the form of the times.
        parts: The table's files in order.
        options: How to read them.
        with_titles: Whether the items stand in this table, too.

    Yields:
        `user_id` and `item_id` (text), `rating` (also 1 and 0 of a `liked` column) and `timestamp` where the table has
        them, what the accounts need, and other wanted columns as text.
    """
    times = TimeColumn(options.time_unit or "auto")
    for tally, table in open_tables(builder, parts, TableOptions.of(options, items=False)):
        places = _rating_places(table, options, with_titles=with_titles)
        decimal_comma = table.separator not in (",", None)
        for rows in table.rows(places):
            _refuse_rounded_ids(rows, table.path)
            if "timestamp" in places:
                rows = times.read(rows, table.path)
            yield tally, sift(_typed(rows, decimal_comma), _rating_checks(places), tally)
    builder.time_form = times.form


def _rating_places(table: TableFile, options: SourceOptions, *, with_titles: bool) -> dict[str, int]:
    places = resolve_columns(
        table,
        options.columns,
        needed=("user_id", "item_id", *(("title",) if with_titles else ())),
        optional=("rating", "timestamp", "liked", *(_DETAILS if with_titles else ())),
        flag="--columns",
    )
    if "rating" in places and "liked" in places:
        raise ConfigError(
            f"ratings in {table.path}",
            found=f"columns for both rating ({table.header[places['rating']]}) and liked",
            expected="one of them",
            hint="Switch one off by mapping it to an empty name, e.g. --columns liked=",
        )
    if options.time_unit is not None and "timestamp" not in places:
        raise ConfigError(
            f"a time unit for {table.path}",
            found="no column of times",
            expected="a column for timestamp",
            hint="Map it: --columns timestamp=NAME, or leave --time-unit out",
        )
    return places


def _typed(rows: pl.DataFrame, decimal_comma: bool) -> pl.DataFrame:
    changes = [fields.own_identifier("user_id"), fields.own_identifier("item_id")]
    if "rating" in rows.columns:
        changes.append(fields.number("rating", decimal_comma=decimal_comma))
    if "liked" in rows.columns:
        changes.append(fields.yes_no("liked").alias("rating"))
    return rows.with_columns(changes)


def _rating_checks(places: Mapping[str, int]) -> fields.Checks:
    checks = fields.id_checks()
    if "rating" in places:
        checks += fields.rating_checks()
    if "liked" in places:
        checks.append((pl.col("rating").is_null(), BAD_FLAG))
    if "timestamp" in places:
        checks += time_checks()
    return checks


_OTHER_COLUMN: Final = "Name the right column: --columns {0}=NAME, or leave it out: --columns {0}="
_HINTS: Final[dict[str, str]] = {
    UNKNOWN_ITEM: "Check that both files write item ids alike, and that the right columns are named (--item-columns)",
    MALFORMED: "Check the separator (--separator) and the lines that the rejected rows name",
    NO_OBJECT: "Write one JSON object on each line, without the same key twice",
    NESTED: "Write plain values, or name another column: --columns OURS=THEIRS",
    UNREADABLE: "Name the encoding: --encoding latin-1",
    BAD_TIME: "Write times as 2024-05-01 10:30, or leave them out: --columns timestamp= --order file",
    fields.TOO_LATE: "Name another unit: --time-unit milliseconds",
    fields.BAD_RATING: _OTHER_COLUMN.format("rating"),
    BAD_FLAG: _OTHER_COLUMN.format("liked"),
    NO_TIME: "Leave the times out: --columns timestamp= --order file",
    fields.NO_USER: "Name the right column: --columns user_id=NAME",
    fields.NO_ITEM: "Name the right column: --columns item_id=NAME",
}

PLUGIN: Final = RatingsReader(
    licence=LICENCE,
    hints=_HINTS,
    options=frozenset(
        {"columns", "item_columns", "header", "item_header", "separator", "encoding", "items", "time_unit"}
    ),
    read=read_table,
)
