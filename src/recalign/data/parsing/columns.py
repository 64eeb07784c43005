"""What the columns of a user's table are called, and where ours stand among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl

from recalign.data.parsing.records import split_fields
from recalign.data.source import ITEM_COLUMNS, RATING_COLUMNS, SourceOptions
from recalign.errors import DataError, nearest

# Of two that split a line into equally many fields the first is taken: nobody writes "::" for anything else.
_SEPARATORS: Final = ("::", ",", ";", "\t", "|")
_SNIFFED_LINES: Final = 100
# What is written into a column sooner than above it: a number or a date.
_VALUE: Final = re.compile(r"\s*(?:[-+]?\d+(?:[.,]\d+)?|\d{4}-\d\d-\d\d.*)\s*")


Form = Literal["CSV", "JSON Lines", "Parquet"]


@dataclass(frozen=True, slots=True)
class TableFile:
    """An opened table.

    Attributes:
        path: What the user calls it.
        form: Its format.
        header: Its column names.
        separator: What separates its fields; None where it is no CSV.
        rows: Given our names and the places of their columns, yields frames with `line`, `lines`, `text` and one String
            column per name (blank for null; columns named ``c0``, ``c1`` … keep the type they have in Parquet).
    """

    path: Path
    form: Form
    header: list[str]
    separator: str | None
    rows: Callable[[Mapping[str, int]], Iterator[pl.DataFrame]]


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How to open one of the two files.

    Attributes:
        mapping: Our name -> the file's; helps to find the separator.
        names: Names of the columns of a file that does not begin with them.
        separator: What separates the fields of CSV; found where None.
        encoding: Text encoding; UTF-8 where None.
        of_items: Whether it is the items file; messages name its options.
    """

    mapping: Mapping[str, str]
    names: tuple[str, ...] | None
    separator: str | None
    encoding: str | None
    of_items: bool

    @classmethod
    def of(cls, options: SourceOptions, *, items: bool) -> TableOptions:
        """The options of the items file, or of the ratings."""
        mapping = options.columns | options.item_columns if items else options.columns
        names = options.item_header if items else options.header
        return cls(mapping, names, options.separator, options.encoding, items)

    def flag(self, name: str) -> str:
        """The command-line option of this file, such as ``--item-columns`` for ``columns``."""
        return f"--item-{name}" if self.of_items else f"--{name}"


def _wanted(options: TableOptions) -> set[str]:
    return {options.mapping.get(name, name) for name in (*RATING_COLUMNS, *ITEM_COLUMNS)} - {""}


def find_separator(head: list[str], options: TableOptions) -> str:
    """The separator under which most of the wanted names occur; of those, the one with most fields.

    Where the names are given, the one under which most lines have as many fields.
    """
    wanted = _wanted(options)

    def rank(separator: str) -> tuple[int, int]:
        if options.names is not None:
            widths = [len(split_fields(line, separator) or []) for line in head[:_SNIFFED_LINES]]
            return widths.count(len(options.names)), widths[0]
        names = [name.strip() for name in split_fields(head[0], separator) or []]
        return len(wanted.intersection(names)), len(names)

    return max(_SEPARATORS, key=rank)


def refuse_data(header: list[str], path: Path, options: TableOptions) -> None:
    """A DataError where the first line looks like data: it has numbers or dates, and no name that is wanted.

    Names that are numbers from 0 are those of columns without names, as pandas writes them.
    """
    known = [name for name in header if name in _wanted(options) and not _VALUE.fullmatch(name)]
    counted = header == [str(place) for place in range(len(header))]
    if not known and not counted and any(_VALUE.fullmatch(name) for name in header):
        example = _example(options.of_items, len(header))
        raise DataError(
            f"header of {path}",
            found=f"a first line that looks like data: {', '.join(header)}"[:200],
            expected="names of columns",
            hint=f"If the file has no header, name its {len(header)} columns: {options.flag('header')} {example}",
        )


def _example(of_items: bool, width: int = 4) -> str:
    names = ["item_id", "title", "genres"] if of_items else ["user_id", "item_id", "rating", "timestamp"]
    return ",".join(names[:width]) + (",…" if width > len(names) else "")


def refuse_header(first: list[str] | None, path: Path, names: tuple[str, ...], options: TableOptions) -> None:
    """A DataError where names are given and the first line has them too, or has another number of fields.

    Where the first line is no row (None) nothing is said here: it is rejected with the others.
    """
    if first is None:
        return
    option = f"{options.flag('header')} {','.join(names)}"
    if len(first) != len(names):
        found = f"{len(first)} fields in the first line: {', '.join(first)}"[:200]
        hint = "Name every column (a blank one is not used), or name the separator: --separator ';'"
        raise DataError(f"{path} and {option}", found=found, expected=f"{len(names)} fields", hint=hint)
    valued = {options.mapping.get(name, name) for name in RATING_COLUMNS}
    if any(name in valued and name.lower() == field.lower() for name, field in zip(names, first, strict=True)):
        found = f"a first line that is a header: {', '.join(first)}"[:200]
        hint = f"Leave {options.flag('header')} out; {options.flag('columns')} maps names"
        raise DataError(f"{path} and {option}", found=found, expected="data from the first line on", hint=hint)


def resolve_columns(
    table: TableFile,
    mapping: Mapping[str, str],
    *,
    needed: Collection[str],
    optional: Collection[str],
    flag: str,
    shared: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Find our columns in a header.

    Args:
        table: The table.
        mapping: Our name -> the file's. An empty name switches a column off.
        needed: Our names without which there is nothing to read.
        optional: Our names that may be absent.
        flag: The command-line option that maps a column, for messages.
        shared: What the mapping of the ratings says, where this is the items file; for messages.

    Returns:
        Our name -> place in the header.

    Raises:
        DataError: a needed or mapped column is absent, or occurs twice.
    """
    places: dict[str, int] = {}
    for name in (*needed, *optional):
        theirs = mapping.get(name, name)
        if theirs and theirs in table.header:
            places[name] = place_of(theirs, table)
        elif name in needed or (name in mapping and theirs):
            raise _absent(name, theirs, table, flag, (shared or {}).get(name, ""))
    return places


def _absent(name: str, theirs: str, table: TableFile, flag: str, shared: str) -> DataError:
    """That a table has no column for one of our names, and how to name it.

    `shared` is what the ratings' mapping calls it: it holds for both files, so it may be the mistake.
    """
    inherited = shared not in ("", name) and theirs == name
    near = nearest(shared if inherited else theirs or name, table.header)
    wrong, hint = repr(theirs or name), f"Map it: {flag} {name}=NAME"
    if inherited:
        wrong = f"{shared!r} (--columns {name}={shared}, which holds for both files)"
        right = f"{name}={near or 'NAME'}"
        hint = f"Correct it: --columns {right}. Or, where only the items file differs: {flag} {right}"
    elif name == "title" and flag == "--columns":
        hint = f"Titles in a file of their own: --items FILE. In this one: {flag} title=NAME"
    elif table.form == "CSV" and not near:
        header = f"{flag.replace('columns', 'header')} {_example('item' in flag, len(table.header))}"
        hint += f", or name the separator: --separator ';'. Or is there no header? Name the columns: {header}"
    return DataError(
        f"column {wrong} of {table.path}",
        found=f"the columns {', '.join(table.header)}"[:300],
        expected=f"a column for {name}{f' (did you mean {near}?)' if near else ''}",
        hint=hint,
    )


def place_of(name: str, table: TableFile) -> int:
    """The place of a column that is in the header; a DataError where it is there twice."""
    if table.header.count(name) > 1:
        raise DataError(f"header of {table.path}", found=f"the column {name!r} twice", expected="each column name once")
    return table.header.index(name)
