"""Rows out of lines: by a pattern for formats of one row per line, by a record grammar for delimited files.

The grammar of delimited files is the usual one (fields may be quoted, a quote inside doubles, a quoted field may
contain separators and line ends; a quote inside an unquoted field is a character), with one addition: a row that does
not fit is rejected *alone*. Its first line goes to the ledger, and reading starts again at the very next line, so
that one stray quote cannot swallow or shift the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing.accounting import FileTally
from recalign.data.parsing.lines import line_blocks
from recalign.errors import DataError

UNREADABLE: Final = "unreadable bytes"
EMPTY: Final = "empty line"
MALFORMED: Final = "not a row of this format"
UNTERMINATED: Final = "quoted field without an end"
# Stands for a separator of several characters: regular expressions of fields exclude one character. Unicode guarantees
# that it is no character of any text; a line that has it all the same is unreadable.
_STAND_IN: Final = "\ufdd0"
# A record of more lines is taken for a stray quote: it bounds what one bad line can cost.
MAX_RECORD_LINES: Final = 10_000


def pattern_rows(tally: FileTally, pattern: str, *, encoding: str = "utf-8") -> Iterator[pl.DataFrame]:
    """Match each line of a file as a whole with a regular expression (Rust syntax) with named groups.

    Lines that do not match are rejected. Encodings and errors are those of `lines.line_blocks`.

    Yields:
        Frames with `line`, `lines`, `text` and one String column per group. Rows are not yet accepted: `sift` does
        that.
    """
    for block in line_blocks(tally, encoding):
        yield match_lines(block, tally, pattern)


def match_lines(block: pl.DataFrame, tally: FileTally, pattern: str) -> pl.DataFrame:
    """Match the lines of one block (`line`, `text`, `readable`) as `pattern_rows` does."""
    names = list(re.compile(pattern).groupindex)
    groups = pl.col("text").str.extract_groups(f"^(?:{pattern})$")
    rows = block.with_columns(groups.alias("groups"), pl.lit(1, dtype=pl.Int64).alias("lines")).unnest("groups")
    good = pl.col("readable") & pl.col(names[0]).is_not_null()
    tally.reject(_with_reason(rows.filter(~good), pl.lit(MALFORMED)))
    return rows.filter(good).drop("readable")


def _with_reason(lines: pl.DataFrame, otherwise: pl.Expr) -> pl.DataFrame:
    empty = pl.col("text").str.strip_chars() == ""
    reason = pl.when(~pl.col("readable")).then(pl.lit(UNREADABLE)).when(empty).then(pl.lit(EMPTY)).otherwise(otherwise)
    return lines.with_columns(reason.alias("reason"), pl.lit(1, dtype=pl.Int64).alias("lines"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a delimited file are wanted.

    Attributes:
        width: Number of fields in a row.
        columns: Our name -> place of the field, from 0.
    """

    width: int
    columns: Mapping[str, int]


def split_fields(line: str, separator: str) -> list[str] | None:
    """Fields of one row on one line, quotes resolved; None where the line does not follow the grammar."""
    if len(separator) > 1:
        parts = split_fields(line.replace(separator, _STAND_IN), _STAND_IN)
        return parts and [part.replace(_STAND_IN, separator) for part in parts]
    field = re.compile(_field(separator))
    values, at = [], 0
    while True:
        match = field.match(line, at)
        end = match.end() if match else at
        value = line[at:end]
        values.append(value[1:-1].replace('""', '"') if value.startswith('"') else value)
        if end == len(line):
            return values
        if line[end] != separator:
            return None
        at = end + 1


def _field(separator: str) -> str:
    """Regular expression (Python and Rust) of one field.

    An unquoted field does not begin with a quote, so a line that ends inside a quoted field never matches as a whole. A
    line contains no \\n; a row of several lines does, and only quoted fields may contain it.
    """
    mark = re.escape(separator)
    return rf'(?:"(?:[^"]|"")*"|[^"{mark}\n][^{mark}\n]*|)'


def named_layout(names: Mapping[str, str], path: Path) -> Callable[[list[str]], Layout]:
    """A layout for `delimited_rows` that finds columns by their names (ours -> that in the header) in the file `path`.

    The function that is returned raises a DataError where a name is missing or occurs twice.
    """

    def layout(header: list[str]) -> Layout:
        wrong = [theirs for theirs in names.values() if header.count(theirs) != 1]
        if wrong:
            raise DataError(
                f"header of {path}",
                found=", ".join(header)[:200],
                expected=f"the columns {', '.join(names.values())}, each once (wrong: {wrong[0]})",
                hint="Files with other column names are read as dataset 'table'",
            )
        return Layout(len(header), {ours: header.index(theirs) for ours, theirs in names.items()})

    return layout


def delimited_rows(
    tally: FileTally,
    separator: str,
    layout: Callable[[list[str]], Layout],
    *,
    names: Sequence[str] | None = None,
    encoding: str = "utf-8",
    dialect: Callable[[Layout], pl.Expr] | None = None,
) -> Iterator[pl.DataFrame]:
    """Read a delimited file whose first line names its columns; rows that do not fit are rejected.

    Args:
        tally: The file.
        separator: One character or several.
        layout: Given the names of the columns, says which fields are wanted (or raises a DataError).
        names: Names of the columns of a file that does not begin with them.
        encoding: As `lines.line_blocks`.
        dialect: Makes an expression that rewrites `text` to the usual quoting, for files that quote otherwise.

    Yields:
        Frames with `line` (the row's first), `lines`, `text` and one String column per wanted field, quotes resolved.
        Rows are not yet accepted: `sift` does that.

    Raises:
        DataError: as `lines.line_blocks`, and what `layout` raises.
    """
    grammar: _Grammar | None = None
    rewrite: pl.Expr | None = None
    rest: pl.DataFrame | None = None
    for block in line_blocks(tally, encoding):
        if grammar is None:
            plan = layout(list(names or header_names(block["text"][0], separator, tally.path)))
            grammar, rewrite = _Grammar(separator, plan), dialect(plan) if dialect else None
            if names is None:
                tally.count_header(1)
                block = block.slice(1)
        if rewrite is not None:
            block = block.with_columns(rewrite.alias("text"))
        block = grammar.marked(block)
        if rest is not None:
            block = pl.concat([rest, block])
        rows, rest = grammar.records(block, tally, last=False)
        yield rows
    if grammar is not None and rest is not None:
        yield grammar.records(rest, tally, last=True)[0]


def header_names(line: str, separator: str, path: Path) -> list[str]:
    """Column names in the first line of a file; a DataError where it does not follow the grammar."""
    names = split_fields(line, separator)
    if names is None:
        raise DataError(f"header of {path}", found=line[:200], expected=f"column names separated by {separator!r}")
    return [name.strip() for name in names]


class _Grammar:
    """The record grammar of one delimited file."""

    def __init__(self, separator: str, layout: Layout) -> None:
        self._separator, self._layout = separator, layout
        self._mark = separator if len(separator) == 1 else _STAND_IN
        mark, field = re.escape(self._mark), _field(self._mark)
        # With a separator before each field no match is empty, and the matches of a row that fits leave no gap.
        self._marked = f"{mark}{field}"
        self._whole = re.compile(mark.join([field] * layout.width))

    def marked(self, block: pl.DataFrame) -> pl.DataFrame:
        """The block as `records` takes it: with one character for the separator."""
        if self._mark == self._separator:
            return block
        text = pl.col("text")
        return block.with_columns(
            text.str.replace_all(self._separator, self._mark, literal=True),
            pl.col("readable") & ~text.str.contains(self._mark, literal=True),
        )

    def _unmarked(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self._mark == self._separator:
            return rows
        return rows.with_columns(pl.col(pl.String).str.replace_all(self._mark, self._separator, literal=True))

    def records(self, block: pl.DataFrame, tally: FileTally, *, last: bool) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Rows of a block, and the lines at its end that may be the beginning of a row (None if there are none)."""
        rows = self._extract(block.with_columns(pl.lit(1, dtype=pl.Int64).alias("lines")))
        if rows["fits"].all():
            return self._finish(rows, tally), None
        joined, lone, rejected, closed = self._join(block, rows["fits"].to_list(), last)
        tally.reject(self._unmarked(rejected))
        rows = pl.concat([rows.filter(lone), self._extract(joined)]).sort("line")
        return self._finish(rows, tally), block.slice(closed) if closed < len(block) else None

    def _extract(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the wanted fields, quotes and all, and `fits`: whether the text is a whole row."""
        matches = (pl.lit(self._mark) + pl.col("text")).str.extract_all(self._marked)
        rows = rows.with_columns(matches.alias("found"))
        covered = pl.col("found").list.eval(pl.element().str.len_bytes()).list.sum()
        length = pl.col("text").str.len_bytes() + len(self._mark.encode())
        fits = (pl.col("found").list.len() == self._layout.width) & (covered == length)
        fields = [
            pl.col("found").list.get(place, null_on_oob=True).str.slice(1).alias(name)
            for name, place in self._layout.columns.items()
        ]
        return rows.with_columns(fits.alias("fits"), *fields).drop("found")

    def _finish(self, rows: pl.DataFrame, tally: FileTally) -> pl.DataFrame:
        unreadable = rows.filter(~pl.col("readable"))
        tally.reject(self._unmarked(unreadable).with_columns(pl.lit(UNREADABLE).alias("reason")))
        rows = self._unmarked(rows.filter("readable"))
        for name in self._layout.columns:
            is_quoted = rows[name].str.starts_with('"')
            if is_quoted.any():
                bare = pl.col(name).str.strip_prefix('"').str.strip_suffix('"').str.replace_all('""', '"')
                rows = rows.with_columns(pl.when(is_quoted).then(bare).otherwise(name).alias(name))
        return rows.drop("readable", "fits")

    def _join(
        self, block: pl.DataFrame, fits: list[bool], last: bool
    ) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame, int]:
        """Resolve the lines that are no row by themselves: joined to rows of several lines, or rejected.

        In a row that fits the grammar an even number of quotes has passed exactly where no quoted field is open, so the
        end of a row is the first line end with an even count.

        Returns:
            The rows of several lines; whether a line is a row by itself; the rejected lines; and how many lines are
            settled, as the others may be the beginning of a row.
        """
        texts, readable = block["text"].to_list(), block["readable"].to_list()
        odd = (block["text"].str.count_matches('"', literal=True) % 2 == 1).to_list()
        first_line = int(block["line"][0])
        lone = list(fits)
        records: list[tuple[int, str, bool, int]] = []
        reasons: list[str | None] = [None] * len(fits)
        joined, settled = 0, len(fits)
        for at in (place for place, fits_alone in enumerate(fits) if not fits_alone):
            if at < joined:
                continue
            end = at + 1
            is_open = odd[at]
            while is_open and end < len(fits) and end - at < MAX_RECORD_LINES:
                is_open ^= odd[end]
                end += 1
            if is_open and end == len(fits) and not last and end - at < MAX_RECORD_LINES:
                lone[at:] = [False] * (end - at)
                settled = at
                break
            text = "\n".join(texts[at:end])
            if not is_open and end > at + 1 and self._whole.fullmatch(text):
                records.append((first_line + at, text, all(readable[at:end]), end - at))
                lone[at:end] = [False] * (end - at)
                joined = end
            else:
                reasons[at] = UNTERMINATED if is_open else MALFORMED
        misfits = block.with_columns(pl.Series("misfit", reasons, dtype=pl.String())).drop_nulls("misfit")
        rows = pl.DataFrame(records, schema={**block.schema, "lines": pl.Int64()}, orient="row")
        return rows, pl.Series(lone), _with_reason(misfits, pl.col("misfit")), settled
