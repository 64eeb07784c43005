"""A user's table, CSV or Parquet, as frames of text columns under our names: what `table` reads from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import polars as pl
from pyarrow import parquet

from recalign.data.parsing.accounting import FileTally
from recalign.data.parsing.lines import is_utf8, read_head
from recalign.data.parsing.records import Layout, delimited_rows, header_names, split_fields
from recalign.data.source import ITEM_COLUMNS, RATING_COLUMNS, SourceOptions
from recalign.errors import ConfigError, DataError

_SEPARATORS: Final = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class TableFile:
    """An opened table.

    Attributes:
        header: Its column names.
        separator: What separates its fields; None for Parquet.
        rows: Given our names and the places of their columns, yields frames with `line`, `lines`, `text` and one String
            column per name (blank for null; columns named ``c0``, ``c1`` … keep the type they have in Parquet).
    """

    header: list[str]
    separator: str | None
    rows: Callable[[Mapping[str, int]], Iterator[pl.DataFrame]]


def open_table(tally: FileTally, options: SourceOptions, mapping: Mapping[str, str]) -> TableFile:
    """Open a CSV or Parquet file.

    Args:
        tally: The file.
        options: `separator` and `encoding` are heeded for CSV.
        mapping: Our name -> the file's; helps to find the separator.

    Raises:
        DataError: the file is missing, empty, binary, not UTF-8 though no encoding is given, or no readable Parquet.
        ConfigError: separator or encoding are given for a Parquet file.
    """
    if tally.path.suffix.lower() in (".parquet", ".pq"):
        return _open_parquet(tally, options)
    encoding = options.encoding or "utf-8"
    first = read_head(tally.path, encoding)[0]
    if options.encoding is None and not is_utf8(tally.path):
        raise DataError(
            str(tally.path),
            found="bytes that are not UTF-8",
            expected="UTF-8 text",
            hint="Name the file's encoding, e.g. --encoding cp1252 (Windows, western Europe) or latin-1",
        )
    separator = options.separator or _sniff(first, mapping)
    header = header_names(first, separator, tally.path)

    def rows(places: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        return delimited_rows(tally, separator, lambda names: Layout(len(names), places), encoding=encoding)

    return TableFile(header, separator, rows)


def _sniff(header: str, mapping: Mapping[str, str]) -> str:
    """The separator under which most of the wanted names occur; of those, the one with most fields."""
    wanted = {mapping.get(name, name) for name in (*RATING_COLUMNS, *ITEM_COLUMNS)}

    def rank(separator: str) -> tuple[int, int]:
        names = [name.strip() for name in split_fields(header, separator) or []]
        return len(wanted.intersection(names)), len(names)

    return max(_SEPARATORS, key=rank)


def _open_parquet(tally: FileTally, options: SourceOptions) -> TableFile:
    for name in ("separator", "encoding"):
        if getattr(options, name) is not None:
            raise ConfigError(f"option {name!r} for {tally.path}", found="a Parquet file", expected="a CSV file")
    table = _read_parquet(tally.path)

    def rows(places: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        columns = [
            series if name.startswith("c") and name[1:].isdigit() else _as_text(series, tally.path)
            for name, series in ((name, table.to_series(place).alias(name)) for name, place in places.items())
        ]
        tally.count_lines(table.height)
        frame = pl.DataFrame(columns).with_row_index("line", offset=1).cast({"line": pl.Int64})
        shown = [pl.col(name) for name in places if frame.schema[name] == pl.String]
        text = pl.concat_str(shown, separator=",", ignore_nulls=True).alias("text")
        yield frame.with_columns(text, pl.lit(1, dtype=pl.Int64).alias("lines"))

    return TableFile(table.columns, None, rows)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        # pyarrow, because it can check what it read: polars takes a damaged file at its word, and may panic.
        table = parquet.read_table(path).replace_schema_metadata(None)
        table.validate(full=True)
        frame = pl.from_arrow(table)
    except (Exception, pl.exceptions.PanicException) as error:
        # A dozen types for damaged files and those that are no files; whatever it is, this one cannot be read.
        reason = " ".join(str(error).split())[:160]
        raise DataError(str(path), found=f"no readable Parquet file ({reason})", expected="a Parquet file") from error
    return cast("pl.DataFrame", frame)


def _as_text(column: pl.Series, path: Path) -> pl.Series:
    """Any column of plain values as text that the field grammars read; blank for null."""
    kind = column.dtype
    if isinstance(kind, pl.Datetime):
        utc = column.dt.convert_time_zone("UTC") if kind.time_zone else column
        text = utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f" + "Z" * bool(kind.time_zone))
    elif kind.is_float():
        text = _float_text(column.fill_nan(None), path)
    elif kind.is_decimal():
        text = column.cast(pl.String).str.replace(r"\.0+$", "")
    elif kind == pl.Null:
        text = column.cast(pl.String)
    elif isinstance(kind, pl.List) and kind.inner == pl.String() and column.name == "genres":
        # The mark at the end says that this is the separator, and not a comma inside the only name.
        text = column.list.join("|", ignore_nulls=True) + "|"
    elif kind.is_integer() or kind in (pl.Boolean, pl.String, pl.Date, pl.Categorical, pl.Enum):
        text = column.cast(pl.String)
    else:
        raise DataError(
            f"column {column.name!r} of {path}", found=f"type {kind}", expected="text, numbers, dates or flags"
        )
    return text.fill_null("").alias(column.name)


def _float_text(column: pl.Series, path: Path) -> pl.Series:
    """Floats as text. Whole ones (ids beside a null, say) are written as such: 17, not 17.0.

    Ids that a float cannot tell apart are refused, and so are times in 32 bits, which are minutes apart.
    """
    digits = 24 if column.dtype == pl.Float32 else 53
    is_id = column.name in ("user_id", "item_id")
    if is_id or (column.name == "timestamp" and digits == 24):
        large = column.filter((column.abs() >= 2**digits).fill_null(False))
        if len(large):
            raise DataError(
                f"column for {column.name} of {path}",
                found=f"{large[0]:.0f} in a column of {column.dtype}, which rounds whole numbers above {2**digits}",
                expected=f"whole numbers{' or text' if is_id else ''}",
                hint="Write the column as whole numbers",
            )
    column = column.cast(pl.Float64)
    whole = column.is_finite() & (column == column.round()) & (column.abs() < 2.0**63)
    numbers = column.cast(pl.Int64, strict=False).cast(pl.String)
    return numbers.zip_with(whole.fill_null(False), column.cast(pl.String))


def resolve_columns(
    header: list[str],
    mapping: Mapping[str, str],
    *,
    needed: Collection[str],
    optional: Collection[str],
    path: Path,
    option: str,
) -> dict[str, int]:
    """Find our columns in a header.

    Args:
        header: The file's column names.
        mapping: Our name -> the file's. An empty name switches a column off.
        needed: Our names without which there is nothing to read.
        optional: Our names that may be absent.
        path: The file, for messages.
        option: The command-line option that maps a column, for messages.

    Returns:
        Our name -> place in the header.

    Raises:
        DataError: a needed or mapped column is absent, or occurs twice.
    """
    places: dict[str, int] = {}
    for name in (*needed, *optional):
        theirs = mapping.get(name, name)
        if theirs and theirs in header:
            places[name] = place_of(theirs, header, path)
        elif name in needed or (name in mapping and theirs):
            raise DataError(
                f"column {theirs or name!r} of {path}",
                found=f"the columns {', '.join(header)}"[:300],
                expected=f"a column for {name}",
                hint=f"Map it: {option} {name}=NAME, or name the separator: --separator ';'",
            )
    return places


def place_of(name: str, header: list[str], path: Path) -> int:
    """The place of a column that is in the header of `path`; a DataError where it is there twice."""
    if header.count(name) > 1:
        raise DataError(f"header of {path}", found=f"the column {name!r} twice", expected="each column name once")
    return header.index(name)
