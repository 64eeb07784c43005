"""Rows out of Parquet, as text that the field grammars read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import polars as pl
from pyarrow import parquet

from recalign.data.parsing.accounting import FileTally
from recalign.data.parsing.containers import InputFile
from recalign.errors import DataError


def read_parquet(file: InputFile) -> pl.DataFrame:
    """The whole table; a DataError where the file is damaged or none."""
    try:
        # pyarrow, because it can check what it read: polars takes a damaged file at its word, and may panic.
        table = parquet.read_table(file.content).replace_schema_metadata(None)
        table.validate(full=True)
        frame = pl.from_arrow(table)
    except (Exception, pl.exceptions.PanicException) as error:
        # A dozen types for damaged files and those that are no files; whatever it is, this one cannot be read.
        reason = " ".join(str(error).split())[:160]
        found = f"no readable Parquet file ({reason})"
        raise DataError(str(file.path), found=found, expected="a Parquet file") from error
    return cast("pl.DataFrame", frame)


def parquet_rows(tally: FileTally, table: pl.DataFrame, places: Mapping[str, int]) -> Iterator[pl.DataFrame]:
    """The wanted columns (our name -> place) as text, in frames as those of `records.delimited_rows`. Columns named
    ``c0``, ``c1`` … keep their type.
    """
    columns = [
        series if name.startswith("c") and name[1:].isdigit() else _as_text(series, tally.path)
        for name, series in ((name, table.to_series(place).alias(name)) for name, place in places.items())
    ]
    tally.count_lines(table.height)
    frame = pl.DataFrame(columns).with_row_index("line", offset=1).cast({"line": pl.Int64})
    shown = [pl.col(name) for name in places if frame.schema[name] == pl.String]
    text = pl.concat_str(shown, separator=",", ignore_nulls=True).alias("text")
    yield frame.with_columns(text, pl.lit(1, dtype=pl.Int64).alias("lines"))


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
