"""The books of a reader: which lines of which file became data, and which were rejected.

A line is entered once, as header, parsed or rejected; a parsed row that later turns out to be a duplicate or to
belong to no known item is moved to the rejects. `FileTally.account` refuses to close unless every line is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recalign.data.rejects import RejectLedger
from recalign.data.source import FileAccount


class FileTally:
    """The open account of one file.

    Attributes:
        path: The file.
        number: Its number among the files of the source; rows carry it in column `file`.
    """

    def __init__(self, path: Path, number: int, ledger: RejectLedger, name: str) -> None:
        self.path, self.number, self._ledger, self._name = path, number, ledger, name
        self._lines = self._header = self._parsed = self._rejected = 0

    def count_lines(self, lines: int) -> None:
        """Lines were read."""
        self._lines += lines

    def count_header(self, lines: int) -> None:
        """Lines were headers."""
        self._header += lines

    def accept(self, rows: pl.DataFrame) -> None:
        """Rows became data; `lines` says how many physical lines each covers."""
        self._parsed += _covered(rows)

    def reject(self, rows: pl.DataFrame) -> None:
        """Rows did not become data: columns `line`, `lines`, `reason`, `text`."""
        self._rejected += _covered(rows)
        self._ledger.add_frame(self._name, rows)

    def demote(self, rows: pl.DataFrame) -> None:
        """Rows that had been accepted are rejected after all (columns as in `reject`)."""
        self._parsed -= _covered(rows)
        self.reject(rows)

    def account(self) -> FileAccount:
        """Close the account; a line that is entered nowhere, or twice, is a ValueError."""
        return FileAccount(str(self.path), self._lines, self._parsed, self._rejected, self._header)


def _covered(rows: pl.DataFrame) -> int:
    return int(rows["lines"].sum())


def sift(rows: pl.DataFrame, checks: Sequence[tuple[pl.Expr, str]], tally: FileTally) -> pl.DataFrame:
    """Reject rows by the first check that holds for them, accept the others.

    Args:
        rows: Columns `line`, `lines`, `text` and whatever the checks look at.
        checks: (condition that condemns a row, reason), in order. A null condition does not condemn.
        tally: The account of the file.

    Returns:
        The accepted rows.
    """
    reason = pl.coalesce([pl.when(condition).then(pl.lit(text)) for condition, text in checks])
    judged = rows.with_columns(reason.alias("reason"))
    if judged["reason"].null_count() < judged.height:
        tally.reject(judged.filter(pl.col("reason").is_not_null()))
        judged = judged.filter(pl.col("reason").is_null())
    accepted = judged.drop("reason")
    tally.accept(accepted)
    return accepted
