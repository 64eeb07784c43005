"""What a reader sees: numbers and names as text, and tables as plain cells, before they are text, Markdown or HTML.

Digits are fixed, minus signs are real, and a dash stands for what is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from recalign.baselines.priors import PREFIX
from recalign.evaluation.document import Ends, Estimate, Row

UNDEFINED: Final = "–"

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
    """Cells by column. `dim`: a prior or reference. `starts`: the first row of its model."""

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


def fixed(value: float | None, digits: int, *, signed: bool = False) -> str:
    """`value` with `digits` decimals; `signed` shows a plus. Zero has no sign, and what is not finite is undefined."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def deviation(estimate: Estimate | None) -> str:
    """The sd over seeds as ``±0.012``; empty where there is none."""
    if estimate is None or UNDEFINED in (fixed(estimate.mean, 3), fixed(estimate.sd, 3)):
        return ""
    return f"±{estimate.sd:.3f}"


def ends(pair: Ends | None) -> Ends | None:
    """Both ends of an interval, None unless both are finite."""
    return pair if pair is not None and all(math.isfinite(end) for end in pair) else None


def interval(pair: Ends | None, *, signed: bool = False) -> str:
    """An interval as ``[0.610, 0.730]``."""
    known = ends(pair)
    return f"[{', '.join(fixed(end, 3, signed=signed) for end in known)}]" if known else UNDEFINED


def p_value(value: float | None) -> str:
    """A p-value, small ones as a bound."""
    return "< 0.001" if value is not None and value < 0.001 else fixed(value, 3)


def plural(count: int, noun: str) -> str:
    """``1 user``, ``1,000 users``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def prior_name(name: str) -> str:
    """A prior's name in a sentence: without the prefix that the command line needs."""
    return name.removeprefix(PREFIX)


def several_backbones(rows: Iterable[Row]) -> bool:
    """Whether the backbone distinguishes rows."""
    return len({row.backbone for row in rows if row.backbone}) > 1


def short_titles(rows: Iterable[Row], *, shots: bool = True) -> Callable[[Row], str]:
    """What a figure or sentence calls each of `rows`: its model, backbone where these differ, and shots if wanted."""
    several = several_backbones(rows)

    def title(row: Row) -> str:
        parts = [prior_name(row.model) if row.kind == "prior" else row.model]
        parts += [row.backbone] if several and row.backbone else []
        parts += [f"{row.shots}-shot"] if shots and row.shots is not None else []
        return ", ".join(parts)

    return title
