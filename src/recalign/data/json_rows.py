"""Files of rows as published ones are: a JSON array, or JSON Lines, which of the two the content tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recalign.errors import DataError


@dataclass(frozen=True, slots=True)
class JsonRow:
    """One row.

    Attributes:
        place: Where it stands, for messages: "row 3" of an array, "line 3" of JSON Lines.
        number: The same as a number, from 1.
        text: The row as JSON; the line itself where it is one.
        value: The parsed value; a DataError where the line is no JSON.
    """

    place: str
    number: int
    text: str
    value: object


def read_json_rows(path: Path) -> Iterator[JsonRow]:
    """The rows of a file, in order; blank lines are rows that are no JSON.

    Raises:
        DataError: The file cannot be read, is not UTF-8, or is an array that is no valid JSON; with the line.
    """
    text = _decoded(path)
    if text.lstrip()[:1] == "[":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            expected = "a JSON array of objects"
            raise DataError(f"{path}{line} is no JSON", found=_complaint(error), expected=expected) from None
        for number, value in enumerate(values, start=1):
            yield JsonRow(f"row {number}", number, json.dumps(value), value)
        return
    lines = text.split("\n")  # only this: other line separators may stand inside JSON strings
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            value = DataError("the line is no JSON", found=_complaint(error))
        yield JsonRow(f"line {number}", number, line, value)


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", found=error.strerror or str(error), expected="a file") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte {content[error.start]:#04x}"
        raise DataError(f"{path}, line {line} is not UTF-8", found=found, expected="UTF-8") from None


def _complaint(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
