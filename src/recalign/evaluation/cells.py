"""A table as plain cells, before it is text, Markdown or HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recalign.evaluation.formats import UNDEFINED

Tone = Literal["", "good", "bad", "muted"]


@dataclass(frozen=True)
class Cell:
    """`text`, with `minor` after it in smaller grey print."""

    text: str = UNDEFINED
    minor: str = ""
    tone: Tone = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see."""
        return self.text in ("", UNDEFINED) and not self.minor


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: Its heading.
        minor: A smaller second line of the heading.
        numeric: Whether it holds numbers rather than words.
        meaning: What the numbers mean, in one sentence; "" where that is plain.
        terminal: Where a terminal of 80 columns has it: as a column, below the column before, or not at all.
    """

    heading: str
    minor: str = ""
    numeric: bool = True
    meaning: str = ""
    terminal: Literal["column", "below", "none"] = "column"


@dataclass(frozen=True)
class TableRow:
    """Cells by column. `dim`: a prior. `starts`: the first row of its model."""

    cells: tuple[Cell, ...]
    dim: bool = False
    starts: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption and notes. The first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def minor_widths(self) -> list[int]:
        """Characters that the minor texts of each column need: room for them in every cell keeps numbers aligned."""
        return [
            max((len(row.cells[index].minor) for row in self.rows), default=0) for index in range(len(self.columns))
        ]
