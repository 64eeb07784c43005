"""Line figures: a metric over the number of shots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from recalign.report.canvas import canvas, plain
from recalign.report.intervals import Reference, wrapped
from recalign.report.theme import Theme

_MARKERS = "osD^vPX*"
_MOST_BANDS = 4  # more bands than this hide each other; then whiskers, side by side
_HEIGHT = 3.6

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One line. Points are (K, value, interval); `level` is the value without K."""

    label: str
    points: tuple[tuple[int, float, tuple[float, float] | None], ...]
    level: float | None = None


def draw_shots(series: Sequence[Series], theme: Theme, *, axis: str, reference: Reference | None = None) -> Canvas:
    """A line per series over log2 K with its interval; a series without points is a level across the figure.

    Args:
        series: At least one, each with points or a level.
        theme: Colours.
        axis: Name of the vertical axis.
        reference: A further level, e.g. the best prior.
    """
    height = max(_HEIGHT, 0.8 + 0.26 * (sum(bool(line.points) + (line.level is not None) for line in series) + 1))
    figure = canvas(theme, 5.8, height)
    axes = figure.add_subplot()
    plain(axes, theme, grid="y")
    shots = sorted({k for line in series for k, _, _ in line.points})
    places = [math.log2(k) for k in shots] or [0.0]
    right = places[-1]
    labels: list[tuple[float, str, str]] = []
    with_points = [line for line in series if line.points]
    for number, line in enumerate(series):
        colour = theme.series(number)
        if line.points:
            shift = 0.0
            if len(with_points) > _MOST_BANDS:
                shift = 0.07 * (with_points.index(line) - (len(with_points) - 1) / 2)
            _line(axes, line, theme, number, shift, bands=len(with_points) <= _MOST_BANDS)
            labels.append((line.points[-1][1], line.label, colour))
        if line.level is not None:
            axes.axhline(line.level, color=colour, linewidth=1.4, linestyle=(0, (1, 1.6)))
            labels.append((line.level, f"{line.label}, no K" if line.points else line.label, colour))
    if reference is not None:
        axes.axhline(reference.value, color=theme["ink"], linewidth=1.1, linestyle=(0, (4, 3)))
        labels.append((reference.value, reference.label, theme["ink"]))
    axes.set_xticks(places if shots else [], [str(k) for k in shots])
    axes.set_xlim(places[0] - 0.3, right + 0.3)
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
    if not labels:
        return
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
