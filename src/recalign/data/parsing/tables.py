"""Opening a user's table: CSV, JSON Lines or Parquet, in one file or in parts, as frames of text columns."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from recalign.data.parsing.accounting import FileTally
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.columns import Form, TableFile, TableOptions, find_separator, refuse_data, refuse_header
from recalign.data.parsing.containers import InputFile, is_empty, opened
from recalign.data.parsing.json_lines import json_keys, json_rows
from recalign.data.parsing.lines import is_utf8, read_head
from recalign.data.parsing.parquet_rows import parquet_rows, read_parquet
from recalign.data.parsing.records import Layout, delimited_rows, header_names, split_fields
from recalign.errors import ConfigError, DataError


def open_tables(
    builder: SourceBuilder, parts: Sequence[Path], options: TableOptions
) -> Iterator[tuple[FileTally, TableFile]]:
    """Open one table, file by file: CSV, JSON Lines or Parquet. Each file has an account of its own.

    Args:
        builder: Where the accounts are opened.
        parts: The table, or its part files in order. Parts without content are passed over.
        options: How to read it.

    Raises:
        DataError: a file is missing, empty, binary, damaged, or not UTF-8 though no encoding is given; or a part has
            another header.
        ConfigError: an option is given that the file's format has no use for.
    """
    first: TableFile | None = None
    for part in parts:
        with opened(part) as file:
            tally = builder.file(file)
            if len(parts) > 1 and is_empty(file):
                continue
            table = _open(tally, options, first, parts)
            first = first or table
            if (table.form, table.header) != (first.form, first.header):
                raise DataError(
                    f"part {part}",
                    found=f"{table.form} with the columns {', '.join(table.header)}"[:200],
                    expected=f"the same as in {first.path.name}: {first.form} with {', '.join(first.header)}"[:200],
                    hint="Move it out of the folder, or give all parts the same columns in the same order",
                )
            yield tally, table
    if first is None:
        raise DataError(str(parts[0].parent), found="empty part files only", expected="at least one row")


def _open(tally: FileTally, options: TableOptions, first: TableFile | None, parts: Sequence[Path]) -> TableFile:
    form = _form(tally.input, options)
    if form == "Parquet":
        table = read_parquet(tally.input)
        return TableFile(tally.path, form, table.columns, None, lambda places: parquet_rows(tally, table, places))
    if form == "CSV":
        return _open_csv(tally, options)
    encoding = options.encoding or "utf-8"
    if first:
        keys = first.header
    else:  # a key that is null throughout a part may be absent from it
        keys = json_keys(tally.input, encoding) if len(parts) == 1 else _keys_of_all(parts, options)

    def rows(places: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        return json_rows(tally, {name: keys[place] for name, place in places.items()}, encoding)

    return TableFile(tally.path, form, keys, None, rows)


def _form(file: InputFile, options: TableOptions) -> Form:
    """What a file is tell its first bytes or, if they do not, its name."""
    with file.content.open("rb") as handle:
        magic = handle.read(4)
    suffix = file.content.suffix.lower()
    if magic == b"PAR1" or suffix in (".parquet", ".pq"):
        _refuse_options(file.path, options, "Parquet", "names", "separator", "encoding")
        return "Parquet"
    if options.encoding is None and magic.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        hint = "Name the file's encoding: --encoding utf-16"
        raise DataError(str(file.path), found="UTF-16 text", expected="UTF-8 text", hint=hint)
    first = read_head(file, options.encoding or "utf-8")[0]
    if options.encoding is None and not is_utf8(file):
        hint = "Name the file's encoding, e.g. --encoding cp1252 (Windows, western Europe) or latin-1"
        raise DataError(str(file.path), found="bytes that are not UTF-8", expected="UTF-8 text", hint=hint)
    if suffix in (".jsonl", ".ndjson", ".json") or re.match(r'\s*(?:\[\s*)?\{\s*(?:"|$)', first):
        _refuse_options(file.path, options, "JSON Lines", "names", "separator")
        return "JSON Lines"
    return "CSV"


def _refuse_options(path: Path, options: TableOptions, form: Form, *names: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            option = options.flag("header") if name == "names" else f"--{name}"
            raise ConfigError(f"option {option} for {path}", found=form, expected="CSV", hint="Leave it out")


def _keys_of_all(parts: Sequence[Path], options: TableOptions) -> list[str]:
    keys: dict[str, None] = {}
    for part in parts:
        with opened(part) as file:
            if not is_empty(file):
                _form(file, options)
                keys.update(dict.fromkeys(json_keys(file, options.encoding or "utf-8")))
    return list(keys)


def _open_csv(tally: FileTally, options: TableOptions) -> TableFile:
    encoding = options.encoding or "utf-8"
    head = read_head(tally.input, encoding)
    separator = options.separator or find_separator(head, options)
    if options.names is None:
        header = header_names(head[0], separator, tally.path)
        refuse_data(header, tally.path, options)
    else:
        header = list(options.names)
        refuse_header(split_fields(head[0], separator), tally.path, options.names, options)

    def rows(places: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        def layout(names: list[str]) -> Layout:
            return Layout(len(names), places)

        return delimited_rows(tally, separator, layout, names=options.names, encoding=encoding)

    return TableFile(tally.path, "CSV", header, separator, rows)
