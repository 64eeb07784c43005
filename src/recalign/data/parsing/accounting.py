"""The books of a reader: which lines of which file became data, and which were rejected and why.

A line is entered once, as header, parsed or rejected; a parsed row that later turns out to be a duplicate or to
belong to no known item is moved to the rejects. `FileTally.account` refuses to close unless every line is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.containers import InputFile
from recalign.errors import DataError

TEXT_LIMIT: Final = 200


class NothingLeft(DataError):
    """No row of a source is usable.

    Attributes:
        rejects: Why.
    """

    def __init__(self, thing: str, rejects: RejectLedger, *, expected: str, hint: str) -> None:
        found = rejects.told() if len(rejects) else "no row below the header"
        super().__init__(thing, found=found, expected=expected, hint=hint)
        self.rejects = rejects


class RejectLedger:
    """Rejected rows, in the order in which they were found. Kept in columns: a file can hold 900,000 empty rows.

    One entry is one row of the input. A row whose quoted fields run over several physical lines is one entry: `line` is
    its first line, `lines` how many it covers.
    """

    def __init__(self) -> None:
        columns = {"source": pl.String, "line": pl.Int64, "lines": pl.Int64, "reason": pl.String, "text": pl.String}
        self._parts = [pl.DataFrame(schema=columns)]

    def add_frame(self, source: str, rows: pl.DataFrame) -> None:
        """Add rejected rows of one file.

        Args:
            source: Name of the file.
            rows: Columns `line` (the first physical line, counted from 1), `lines` (how many the row covers), `reason`
                (equal ones are counted together, so it holds no values) and `text`, of which 200 characters are kept.
        """
        if rows.is_empty():
            return
        part = rows.select(
            pl.lit(source).alias("source"),
            pl.col("line", "lines").cast(pl.Int64),
            pl.col("reason"),
            # Copied through Python: a slice would keep the whole block of text alive that it was cut from.
            pl.Series("text", rows["text"].str.slice(0, TEXT_LIMIT).to_list(), dtype=pl.String()),
        )
        self._parts.append(part)

    def frame(self) -> pl.DataFrame:
        """All entries: `source`, `line`, `lines`, `reason`, `text`, by source in order of appearance, then by line."""
        table = pl.concat(self._parts)
        rank = pl.col("source").cast(pl.Enum(table["source"].unique(maintain_order=True)))
        self._parts = [table.sort(rank, "line", maintain_order=True)]
        return self._parts[0]

    def counts(self) -> dict[str, int]:
        """Number of entries by reason, most frequent first (ties by name)."""
        table = self.frame().group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        return dict(table.iter_rows())

    def told(self) -> str:
        """How many rows were rejected, and the three most frequent reasons."""
        reasons = [f"{reason} ({count:,})" for reason, count in list(self.counts().items())[:3]]
        return f"{len(self):,} rejected rows, most often: {', '.join(reasons)}"

    def write(self, target: Path | BytesIO) -> None:
        """Write the entries as JSON Lines (keys `source`, `line`, `lines`, `reason`, `text`); no entry, empty file."""
        self.frame().write_ndjson(target)

    def __len__(self) -> int:
        return sum(part.height for part in self._parts)


@dataclass(frozen=True)
class FileAccount:
    """Where the lines of one file went: ``lines == header + parsed + rejected``, checked on construction.

    Attributes:
        path: The file, as it was found.
        lines: Physical lines (for Parquet: rows). A last line without line end counts, an empty rest after the last
            line end does not.
        parsed: Lines that became data. A row whose quoted field spans three physical lines counts three.
        rejected: Lines of the rows in the reject ledger.
        header: Lines that name columns or, in Netflix files, the movie of the lines that follow.
        name: What tables and the reject ledger call the file; "" for the last part of its path.
        sha256: Of what was read, where it can be read only once (a pipe); else None.
    """

    path: str
    lines: int
    parsed: int
    rejected: int
    header: int = 0
    name: str = ""
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", Path(self.path).name)
        if min(self.parsed, self.rejected, self.header) < 0 or self.lines != self.header + self.parsed + self.rejected:
            raise ValueError(f"lines lost in the account of a file: {self!r}")


class FileTally:
    """The open account of one file.

    Attributes:
        input: The file, and where its content lies.
        path: The file, as messages name it.
        number: Its number among the files of the source; rows carry it in column `file`.
    """

    def __init__(self, source: Path | InputFile, number: int, ledger: RejectLedger, *, name: str = "") -> None:
        self.input = InputFile(source, source) if isinstance(source, Path) else source
        self.path, self.number, self._ledger = self.input.path, number, ledger
        self._name = name or self.path.name
        self._lines = self._header = self._parsed = self._rejected = 0

    def count_lines(self, lines: int) -> None:
        """Lines were read."""
        self._lines += lines

    def count_header(self, lines: int) -> None:
        """Lines were headers."""
        self._header += lines

    def accept(self, rows: pl.DataFrame) -> None:
        """Rows became data; `lines` says how many physical lines each covers."""
        self._parsed += int(rows["lines"].sum())

    def reject(self, rows: pl.DataFrame) -> None:
        """Rows did not become data: columns `line`, `lines`, `reason`, `text`."""
        self._rejected += int(rows["lines"].sum())
        self._ledger.add_frame(self._name, rows)

    def demote(self, rows: pl.DataFrame) -> None:
        """Rows that had been accepted are rejected after all (columns as in `reject`)."""
        self._parsed -= int(rows["lines"].sum())
        self.reject(rows)

    def account(self) -> FileAccount:
        """Close the account; a line that is entered nowhere, or twice, is a ValueError."""
        counts = (self._lines, self._parsed, self._rejected, self._header)
        return FileAccount(str(self.path), *counts, name=self._name, sha256=self.input.sha256)


def sift(rows: pl.DataFrame, checks: fields.Checks, tally: FileTally) -> pl.DataFrame:
    """Reject rows by the first check that holds for them, accept and return the others.

    Args:
        rows: Columns `line`, `lines`, `text` and whatever the checks look at.
        checks: (condition that condemns a row, reason), in order. A null condition does not condemn.
        tally: The account of the file.
    """
    reason = pl.coalesce([pl.when(condition).then(pl.lit(text)) for condition, text in checks])
    judged = rows.with_columns(reason.alias("reason"))
    if judged["reason"].null_count() < judged.height:
        tally.reject(judged.filter(pl.col("reason").is_not_null()))
        judged = judged.filter(pl.col("reason").is_null())
    accepted = judged.drop("reason")
    tally.accept(accepted)
    return accepted


def sift_ratings(rows: pl.DataFrame, of_rating: fields.Checks, tally: FileTally) -> pl.DataFrame:
    """Give the text of `user_id`, `item_id`, `rating` and `timestamp` (seconds) types; keep the rows that have all."""
    typed = rows.with_columns(
        fields.identifier("user_id"),
        fields.identifier("item_id"),
        fields.number("rating"),
        fields.seconds("timestamp"),
    )
    return sift(typed, [*fields.id_checks(), *of_rating, *fields.time_checks()], tally)
