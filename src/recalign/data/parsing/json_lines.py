"""Rows out of JSON Lines: one object per line, whose keys are columns. A line that is none is rejected alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

import polars as pl

from recalign.data.parsing.accounting import FileTally
from recalign.data.parsing.containers import InputFile
from recalign.data.parsing.lines import line_blocks, read_head, text_blocks
from recalign.data.parsing.records import EMPTY, UNREADABLE
from recalign.errors import DataError

NO_OBJECT: Final = "not a JSON object on one line"
NESTED: Final = "a list or object in a column of plain values"
# Files whose keys are data (ids, say) have no columns; this bounds what finding that out can cost.
MAX_KEYS: Final = 10_000


def json_keys(file: InputFile, encoding: str) -> list[str]:
    """All keys that occur in a file, in order of appearance. Reads it all: a key may be absent from the first lines.

    Raises:
        DataError: as `lines.line_blocks`; the file is a JSON array, no line is an object, or there are more than
            10,000 keys.
    """
    keys: dict[str, None] = {}
    is_array = read_head(file, encoding)[0].lstrip().startswith("[")
    for block in text_blocks(file, encoding) if not is_array else ():
        for text in block.filter("readable")["text"]:
            keys.update(dict.fromkeys(_parsed(text) or ()))
        if len(keys) > MAX_KEYS:
            raise DataError(str(file.path), found=f"more than {MAX_KEYS:,} different keys", expected="a key per column")
    if not keys:
        hint = "Convert it: jq -c '.[]' (of an array) or jq -c . (of indented objects), > FILE.jsonl"
        found = "a JSON array" if is_array else "no JSON object on any line"
        raise DataError(str(file.path), found=found, expected="JSON Lines", hint=hint)
    return list(keys)


def json_rows(tally: FileTally, columns: Mapping[str, str], encoding: str) -> Iterator[pl.DataFrame]:
    """Read a file of JSON Lines.

    Rejected are lines that are no object, name a key twice, or hold a list or an object in a wanted column.

    Args:
        tally: The file.
        columns: Our name -> key. Values become text as they are written; null and absent keys become blank. A list of
            plain values in `genres` is joined by ``|``. Columns named ``c0``, ``c1`` … may hold anything: lists and
            objects become JSON.
        encoding: As `lines.line_blocks`.

    Yields:
        As `records.delimited_rows`.
    """
    for block in line_blocks(tally, encoding):
        rows: list[list[str]] = []
        reasons: list[str | None] = []
        for text, readable in block.select("text", "readable").iter_rows():
            cells, reason = _cells(text, columns) if readable else ([], UNREADABLE)
            rows.append(cells or [""] * len(columns))
            reasons.append(reason)
        judged = block.with_columns(
            pl.lit(1, dtype=pl.Int64).alias("lines"),
            pl.Series("reason", reasons, dtype=pl.String()),
            *(pl.Series(name, values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)),
        )
        tally.reject(judged.drop_nulls("reason"))
        yield judged.filter(pl.col("reason").is_null()).drop("readable", "reason")


def _cells(text: str, columns: Mapping[str, str]) -> tuple[list[str], str | None]:
    """The values of one line as text, or why there are none."""
    record = _parsed(text)
    if record is None:
        return [], NO_OBJECT if text.strip() else EMPTY
    cells = []
    for name, key in columns.items():
        value = record.get(key)
        if name == "genres" and isinstance(value, list) and not any(isinstance(genre, (list, dict)) for genre in value):
            # The mark at the end says that this is the separator, and not a comma inside the only name.
            value = "|".join(_text(genre) for genre in value if genre is not None) + "|"
        elif isinstance(value, (list, dict)):
            if not (name.startswith("c") and name[1:].isdigit()):
                return [], NESTED
            value = json.dumps(value, ensure_ascii=False)
        cells.append(value if isinstance(value, str) else _text(value))
    return cells, None


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(text: str) -> dict[str, object] | None:
    """The object on a line, numbers as they are written; None where there is none."""
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:  # half a surrogate pair is no text
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key twice")
    return record


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_no_number)
