"""The reject ledger: every input line that did not become data, with its place and the reason.

Knows no format: readers decide what to reject and why. Kept in columns, because a file found in the wild can hold
900,000 empty rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

TEXT_LIMIT: Final = 200

_SCHEMA: Final[dict[str, pl.DataType]] = {
    "source": pl.String(),
    "line": pl.Int64(),
    "lines": pl.Int64(),
    "reason": pl.String(),
    "text": pl.String(),
}


class RejectLedger:
    """Rejected rows, in the order in which they were found.

    One entry is one row of the input. A row whose quoted fields run over several physical lines is one entry: `line` is
    its first line, `lines` how many it covers.
    """

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

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
            pl.col("line").cast(pl.Int64),
            pl.col("lines").cast(pl.Int64),
            pl.col("reason"),
            # Copied through Python: a slice would keep the whole block of text alive that it was cut from.
            pl.Series("text", rows["text"].str.slice(0, TEXT_LIMIT).to_list(), dtype=pl.String()),
        )
        self._parts.append(part)

    def frame(self) -> pl.DataFrame:
        """All entries: `source`, `line`, `lines`, `reason`, `text`, by source in order of appearance, then by line."""
        if not self._parts:
            return pl.DataFrame(schema=_SCHEMA)
        table = pl.concat(self._parts)
        place = {name: number for number, name in enumerate(table["source"].unique(maintain_order=True))}
        rank = pl.col("source").replace_strict(place, return_dtype=pl.Int64)
        table = table.sort(rank, "line", maintain_order=True)
        self._parts = [table]
        return table

    def counts(self) -> dict[str, int]:
        """Number of entries by reason, most frequent first (ties by name)."""
        table = self.frame().group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        return dict(zip(table["reason"].to_list(), table["len"].to_list(), strict=True))

    def write(self, path: Path) -> None:
        """Write the entries as JSON Lines (keys `source`, `line`, `lines`, `reason`, `text`); no entry, empty file."""
        if len(self) == 0:
            path.write_bytes(b"")
            return
        self.frame().write_ndjson(path)

    def __len__(self) -> int:
        return sum(part.height for part in self._parts)
