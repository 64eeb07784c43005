"""Figures of values with intervals: a row per model (bars, groups of bars, differences), and lines over K."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from recalign.evaluation.cells import ends, fixed
from recalign.report.canvas import Theme, canvas, plain

_LABEL_WIDTH = 34  # characters of a label's line; the longest labels have two
_ROW_INCHES = 0.27
_MARKERS = "osD^vPX*"
_MOST_BANDS = 4  # more bands than this hide each other; then whiskers, side by side
_LINES_HEIGHT = 3.6

Array = npt.NDArray[np.float64]


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


@dataclass(frozen=True)
class Series:
    """One line. Points are (K, value, interval); `level` is the value without K."""

    label: str
    points: tuple[tuple[int, float, tuple[float, float] | None], ...]
    level: float | None = None


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

    There is at least one. Bars begin at `start`, and there is a line there. Dots are differences, whose values are
    printed with their sign. `reference` is a dashed line with its name above the rows; `width` is in inches.
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


def draw_shots(series: Sequence[Series], theme: Theme, *, axis: str, reference: Reference | None = None) -> Canvas:
    """A line per series over log2 K with its interval; a series without points is a level across the figure.

    There is at least one, each with points or a level. `reference` is a further level, e.g. the best prior.
    """
    height = max(_LINES_HEIGHT, 0.8 + 0.26 * (sum(bool(line.points) + (line.level is not None) for line in series) + 1))
    figure = canvas(theme, 5.8, height)
    axes = figure.add_subplot()
    plain(axes, theme, grid="y")
    shots = sorted({k for line in series for k, _, _ in line.points})
    places = [math.log2(k) for k in shots] or [0.0]
    labels: list[tuple[float, str, str]] = []
    with_points = [line for line in series if line.points]
    bands = len(with_points) <= _MOST_BANDS
    for number, line in enumerate(series):
        colour = theme.series(number)
        if line.points:
            shift = 0.0 if bands else 0.07 * (with_points.index(line) - (len(with_points) - 1) / 2)
            _line(axes, line, theme, number, shift, bands=bands)
            labels.append((line.points[-1][1], line.label, colour))
        if line.level is not None:
            axes.axhline(line.level, color=colour, linewidth=1.4, linestyle=(0, (1, 1.6)))
            labels.append((line.level, f"{line.label}, no K" if line.points else line.label, colour))
    if reference is not None:
        axes.axhline(reference.value, color=theme["ink"], linewidth=1.1, linestyle=(0, (4, 3)))
        labels.append((reference.value, reference.label, theme["ink"]))
    axes.set_xticks(places if shots else [], [str(k) for k in shots])
    axes.set_xlim(places[0] - 0.3, places[-1] + 0.3)
    axes.set_xlabel("K (training samples of the target)" if shots else "")
    axes.set_ylabel(axis)
    axes.margins(y=0.08)
    _end_labels(axes, labels, height, theme)
    return figure


def _line(axes: Axes, series: Series, theme: Theme, number: int, shift: float, *, bands: bool) -> None:
    """The line, its markers and its interval, which is a band or one whisker per point."""
    colour = theme.series(number)
    where = [math.log2(k) + shift for k, _, _ in series.points]
    values = [value for _, value, _ in series.points]
    low = [pair[0] if pair else math.nan for _, _, pair in series.points]
    high = [pair[1] if pair else math.nan for _, _, pair in series.points]
    if bands and len(where) > 1:
        axes.fill_between(where, low, high, color=colour, alpha=0.13, linewidth=0)
    else:
        axes.vlines(where, low, high, color=colour, linewidth=1.1, alpha=0.75)
    marker = _MARKERS[number % len(_MARKERS)]
    axes.plot(where, values, color=colour, linewidth=1.8, marker=marker, markersize=5, clip_on=False)


def _end_labels(axes: Axes, labels: list[tuple[float, str, str]], height: float, theme: Theme) -> None:
    """Names at the right, each at its line's end or as near as the others allow, with a thin leader between."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = (high - low) * 0.175 / (height - 0.8)
    ordered = sorted(labels)
    lines = np.array([wrapped(text, 26).count("\n") + 1 for _, text, _ in ordered])
    wanted = np.array([value for value, _, _ in ordered])
    placed = spread(wanted, gap * (lines + 0.15), low, high)
    for (value, text, colour), place in zip(ordered, placed, strict=True):
        axes.annotate(
            wrapped(text, 26), (1.0, value), xycoords=axes.get_yaxis_transform(), xytext=(1.05, place),
            textcoords=axes.get_yaxis_transform(), va="center", ha="left", size=8.5, color=theme["ink"],
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1.0, "shrinkA": 1, "shrinkB": 0,
                        "relpos": (0.0, 0.5)},
        )  # fmt: skip


def spread(wanted: Array, heights: Array, low: float, high: float) -> Array:
    """Positions near `wanted` (ascending) whose labels of `heights` do not overlap, inside [low, high] if they fit.

    Neighbours that would overlap form a block, centred on the mean of what its members wanted.
    """
    blocks: list[tuple[list[int], float]] = []  # members, centre

    def total(members: list[int]) -> float:
        return float(heights[members].sum())

    for index in range(len(wanted)):
        members, centre = [index], float(wanted[index])
        while True:
            half = total(members) / 2
            centre = max(min(centre, high - half), low + half)
            if not blocks or blocks[-1][1] + total(blocks[-1][0]) / 2 <= centre - half:
                break
            members = blocks.pop()[0] + members
            centre = _centre(wanted, heights, members)
        blocks.append((members, centre))
    places = np.empty(len(wanted))
    for members, centre in blocks:
        edge = centre - total(members) / 2
        for index in members:
            places[index] = edge + heights[index] / 2
            edge += heights[index]
    return places


def _centre(wanted: Array, heights: Array, members: list[int]) -> float:
    """Where the middle of a block of touching labels has to be for its members to be nearest to what they want."""
    half = heights[members].sum() / 2
    before = np.cumsum(heights[members]) - heights[members] / 2 - half
    return float((wanted[members] - before).mean())
