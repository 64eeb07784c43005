"""Figures with a row per model, its name, a value and an interval: bars, groups of bars, differences from a prior."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from recalign.evaluation.cells import ends, fixed
from recalign.report.canvas import Theme, canvas, plain

_LABEL_WIDTH = 34  # characters of a label's line; the longest labels have two
_ROW_INCHES = 0.27


@dataclass(frozen=True)
class Bar:
    """One row of the figure.

    Attributes:
        value: What is drawn; None: `absent` is written instead, e.g. ``not run``.
        interval: Ends of the whisker.
        tone: Colour: a role of the theme.
        heading: Whether this is a group's name, which has no value.
    """

    label: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    tone: str = "accent"
    heading: bool = False
    absent: str = ""


@dataclass(frozen=True)
class Reference:
    """A dashed line across all rows, e.g. the best prior."""

    label: str
    value: float


def wrapped(label: str, width: int = _LABEL_WIDTH) -> str:
    """`label` in at most two lines; what is longer ends in an ellipsis."""
    lines = textwrap.wrap(label, width, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return "\n".join(lines) or label[:width]


def draw_bars(
    bars: Sequence[Bar],
    theme: Theme,
    *,
    axis: str,
    start: float,
    style: Literal["bar", "dot"] = "bar",
    reference: Reference | None = None,
    width: float = 5.8,
) -> Canvas:
    """Horizontal bars (or dots) with whiskers, their values in a column at the right.

    Args:
        bars: From top to bottom; at least one.
        theme: Colours.
        axis: Name of the horizontal axis.
        start: Where bars begin; a dot figure has a line there.
        style: Bars from `start`, or dots for differences, whose values are printed with their sign.
        reference: A dashed line with its name above the rows.
        width: Of the figure, in inches.
    """
    heights = np.array([1.0 + 0.45 * wrapped(bar.label).count("\n") for bar in bars])
    figure = canvas(theme, width, 0.85 + _ROW_INCHES * float(heights.sum()) + (0.2 if reference else 0.0))
    axes = figure.add_subplot()
    plain(axes, theme, grid="x")
    places = (np.cumsum(heights) - heights / 2).tolist()
    _limits(axes, bars, start, reference)
    for place, bar in zip(places, bars, strict=True):
        _draw(axes, place, bar, theme, start, style)
        if not bar.heading:
            text = fixed(bar.value, 4) if style == "bar" else fixed(bar.value, 3, signed=True)
            beside(axes, place, text, theme)
    axes.set_ylim(places[-1] + 0.8, places[0] - 0.8)
    axes.set_yticks(places, [wrapped(bar.label) for bar in bars])
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_fontweight("bold" if bar.heading else "normal")
    axes.axvline(start, color=theme["muted"], linewidth=0.8)
    if reference is not None:
        axes.axvline(reference.value, color=theme["ink"], linewidth=1.1, linestyle=(0, (4, 3)))
        _above(axes, reference.value, f"{wrapped(reference.label, 40)} {fixed(reference.value, 4)}", theme)
    axes.set_xlabel(axis)
    return figure


def beside(axes: Axes, place: float, text: str, theme: Theme) -> None:
    """Write `text` in the column at the right of the rows."""
    where = axes.get_yaxis_transform()
    axes.text(1.02, place, text, transform=where, va="center", color=theme["ink"], size=8.5)


def _limits(axes: Axes, bars: Sequence[Bar], start: float, reference: Reference | None) -> None:
    values = [start, *([reference.value] if reference else [])]
    for bar in bars:
        values += [end for end in (bar.value, *(ends(bar.interval) or ())) if end is not None]
    low, high = min(values), max(values)
    room = (high - low or 0.1) * 0.04
    axes.set_xlim(low - room if low < start else low - room / 2, high + room)


def _draw(axes: Axes, place: float, bar: Bar, theme: Theme, start: float, style: str) -> None:
    if bar.value is None:
        if bar.absent:
            axes.text(start, place, f" {bar.absent}", va="center", color=theme["muted"], size=8.5, style="italic")
        return
    colour, line, dot = (theme["ink"], 1.2, 3.0) if style == "bar" else (theme[bar.tone], 1.8, 5.5)
    if style == "bar":
        axes.barh(place, bar.value - start, left=start, height=0.62, color=theme[bar.tone])
    whisker = ends(bar.interval)
    if whisker is not None:
        axes.plot(whisker, [place, place], color=colour, linewidth=line)
    # On a bar, too: near the start nothing else shows where it ends.
    axes.plot([bar.value], [place], "o", color=colour, markersize=dot)


def _above(axes: Axes, value: float, text: str, theme: Theme) -> None:
    """Write `text` above the rows at `value`, towards the side that has room."""
    low, high = axes.get_xlim()
    share = (value - low) / (high - low) if math.isfinite(high - low) else 0.5
    side: Literal["left", "center", "right"] = "left" if share < 0.35 else "right" if share > 0.65 else "center"
    axes.annotate(
        text, (value, 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 3), textcoords="offset points", ha=side,
        va="bottom", color=theme["muted"], size=8,
    )  # fmt: skip
