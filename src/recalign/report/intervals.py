"""Figures with a row per model, its name, a value and an interval: bars, groups of bars, differences from a prior."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from recalign.evaluation.formats import ends, fixed
from recalign.report.canvas import canvas, plain
from recalign.report.theme import Theme

_LABEL_WIDTH = 34  # characters of a label's line; the longest labels have two
_ROW_INCHES = 0.27


@dataclass(frozen=True)
class Bar:
    """One row of the figure.

    Attributes:
        label: Its name.
        value: What is drawn; None: `absent` is written instead.
        interval: Ends of the whisker.
        tone: Colour: a role of the theme.
        heading: Whether this is a group's name, which has no value.
        absent: What stands in place of a missing value, e.g. ``not run``.
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
    return (
        "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder=" …", break_on_hyphens=False)) or label[:width]
    )


def draw_bars(
    bars: Sequence[Bar],
    theme: Theme,
    *,
    axis: str,
    start: float,
    style: Literal["bar", "dot"] = "bar",
    reference: Reference | None = None,
    signed: bool = False,
) -> Canvas:
    """Horizontal bars (or dots) with whiskers, their values in a column at the right.

    Args:
        bars: From top to bottom; at least one.
        theme: Colours.
        axis: Name of the horizontal axis.
        start: Where bars begin; a dot figure has a line there.
        style: Bars from `start`, or dots.
        reference: A dashed line with its name above the rows.
        signed: Whether values are printed with their sign.
    """
    figure = canvas(theme, 5.8, 0.85 + _ROW_INCHES * sum(_lines(bar) for bar in bars) + (0.2 if reference else 0.0))
    axes = figure.add_subplot()
    plain(axes, theme, grid="x")
    places = _places(bars)
    _limits(axes, bars, start, reference)
    for place, bar in zip(places, bars, strict=True):
        _draw(axes, place, bar, theme, start, style)
        if not bar.heading:
            text = fixed(bar.value, 3 if signed else 4, signed=signed)
            axes.text(
                1.02, place, text, transform=axes.get_yaxis_transform(), va="center", color=theme["ink"], size=8.5
            )
    axes.set_ylim(places[-1] + 0.8, places[0] - 0.8)
    axes.set_yticks(places, [wrapped(bar.label) for bar in bars])
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_fontweight("bold" if bar.heading else "normal")
    axes.axvline(start, color=theme["muted"], linewidth=0.8)
    if reference is not None:
        axes.axvline(reference.value, color=theme["ink"], linewidth=1.1, linestyle=(0, (4, 3)))
        text = f"{wrapped(reference.label, 40)} {fixed(reference.value, 4)}"
        _above(axes, reference.value, text, theme)
    axes.set_xlabel(axis)
    return figure


def _lines(bar: Bar) -> float:
    return 1.0 + 0.45 * wrapped(bar.label).count("\n")


def _places(bars: Sequence[Bar]) -> list[float]:
    """Vertical position of each row: rows whose label has two lines get more room."""
    places, at = [], 0.0
    for bar in bars:
        at += _lines(bar) / 2
        places.append(at)
        at += _lines(bar) / 2
    return places


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
    whisker = ends(bar.interval)
    if style == "bar":
        axes.barh(place, bar.value - start, left=start, height=0.62, color=theme[bar.tone])
    if whisker is not None:
        colour = theme["ink"] if style == "bar" else theme[bar.tone]
        axes.plot(whisker, [place, place], color=colour, linewidth=1.2 if style == "bar" else 1.8)
    # On a bar, too: near the start nothing else shows where it ends.
    dot = (theme["ink"], 3.0) if style == "bar" else (theme[bar.tone], 5.5)
    axes.plot([bar.value], [place], "o", color=dot[0], markersize=dot[1])


def _above(axes: Axes, value: float, text: str, theme: Theme) -> None:
    """Write `text` above the rows at `value`, towards the side that has room."""
    low, high = axes.get_xlim()
    share = (value - low) / (high - low) if math.isfinite(high - low) else 0.5
    side: Literal["left", "center", "right"] = "left" if share < 0.35 else "right" if share > 0.65 else "center"
    place = (value, 1.0)
    axes.annotate(
        text, place, xycoords=axes.get_xaxis_transform(), xytext=(0, 3), textcoords="offset points", ha=side,
        va="bottom", color=theme["muted"], size=8,
    )  # fmt: skip
