"""Small multiples: reliability diagrams, users' AUCs, training curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from recalign.evaluation.document import Bin, Curve
from recalign.evaluation.formats import fixed
from recalign.report.canvas import canvas, plain
from recalign.report.intervals import wrapped
from recalign.report.theme import Theme

_COLUMNS: Final = 5
_FACET: Final = 2.5  # inches


@dataclass(frozen=True)
class Calibration:
    """A facet of the reliability diagram: curves by K, which is None for what has none."""

    title: str
    curves: tuple[tuple[int | None, tuple[Bin, ...]], ...]


@dataclass(frozen=True)
class Users:
    """A strip of the users' AUCs: one dot per user with both labels."""

    title: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Training:
    """A facet of the training curves: one stage of one model, a curve per seed."""

    title: str
    curves: tuple[Curve, ...]


def draw_reliability(facets: Sequence[Calibration], theme: Theme) -> Canvas:
    """Share of liked samples over the mean predicted probability; on the diagonal a model means what it says.

    Dots grow with the number of samples in their bin.
    """
    figure, grid = _facets(len(facets), theme, height=2.45)
    shots = sorted({k for facet in facets for k, _ in facet.curves}, key=lambda k: k or 0)
    for index, (axes, facet) in enumerate(zip(grid, facets, strict=True)):
        plain(axes, theme, grid="both")
        axes.set_title(wrapped(facet.title, 26), loc="left", color=theme["ink"])
        axes.plot([0, 1], [0, 1], color=theme["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        largest = max((point.count for _, bins in facet.curves for point in bins), default=1)
        for k, bins in facet.curves:
            colour = theme.series(shots.index(k))
            where, share = [point.predicted for point in bins], [point.observed for point in bins]
            sizes = [6 + 44 * point.count / max(largest, 1) for point in bins]
            axes.plot(where, share, color=colour, linewidth=1.1, alpha=0.8)
            axes.scatter(where, share, s=sizes, color=colour, linewidths=0, zorder=3, clip_on=False)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.set_aspect("equal")
        if index % _columns(len(facets)) == 0:
            axes.set_ylabel("share liked")
        if index + _columns(len(facets)) >= len(facets):
            axes.set_xlabel("predicted probability")
    _legend(figure, theme, [(f"K = {k}" if k else "no K", number) for number, k in enumerate(shots)])
    return figure


def draw_users(strips: Sequence[Users], theme: Theme) -> Canvas:
    """The AUC within each user as a dot, the middle half of the users as a bar, their median as a line."""
    figure = canvas(theme, 5.8, 0.8 + 0.36 * len(strips))
    axes = figure.add_subplot()
    plain(axes, theme, grid="x")
    rng = np.random.default_rng(0)  # jitter for the eye; no result depends on it
    for row, strip in enumerate(strips):
        values = np.array([value for value in strip.values if math.isfinite(value)])
        if not values.size:
            continue
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.barh(row, high - low, left=low, height=0.58, color=theme["accent"], alpha=0.18, linewidth=0)
        heights = row + rng.uniform(-0.22, 0.22, values.size)
        alpha = max(0.25, min(0.8, 30 / values.size))
        axes.scatter(values, heights, s=11, color=theme["accent"], alpha=alpha, linewidths=0, clip_on=False, zorder=3)
        axes.plot([middle, middle], [row - 0.33, row + 0.33], color=theme["ink"], linewidth=1.8, zorder=4)
        axes.text(1.02, row, fixed(float(middle), 2), transform=axes.get_yaxis_transform(), va="center",
                  color=theme["ink"], size=8.5)  # fmt: skip
    axes.axvline(0.5, color=theme["ink"], linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(strips)), [wrapped(strip.title) for strip in strips])
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(strips) - 0.4, -0.6)
    axes.set_xlabel("AUC within a user; dashed: chance; right: median")
    return figure


def draw_training(facets: Sequence[Training], theme: Theme) -> Canvas:
    """Loss over steps, and below it the validation AUC where there was one; a line per seed."""
    validated = any(_points(curve, _validation) for facet in facets for curve in facet.curves)
    columns = _columns(len(facets))
    rows = math.ceil(len(facets) / columns)
    height = 2.7 if validated else 1.7
    figure = canvas(theme, max(_FACET * columns, 4.6), 0.35 + height * rows)
    seeds = sorted({curve.seed for facet in facets for curve in facet.curves})
    grid = figure.add_gridspec(rows, columns)
    for number, facet in enumerate(facets):
        both = any(_points(curve, _validation) for curve in facet.curves)
        cell = grid[number // columns, number % columns].subgridspec(2 if both else 1, 1)
        upper, *lower = cell.subplots(sharex=True, squeeze=False).flat
        upper.set_title(wrapped(facet.title, 26), loc="left", color=theme["ink"])
        _lines(upper, facet, _loss, seeds, theme, "loss")
        for axes in lower:
            _lines(axes, facet, _validation, seeds, theme, "validation")
        (lower or [upper])[-1].set_xlabel("step")
    if len(seeds) > 1:
        _legend(figure, theme, [(f"seed {seed}", number) for number, seed in enumerate(seeds)])
    return figure


def _lines(
    axes: Axes,
    facet: Training,
    read: Callable[[Curve], list[tuple[int, float | None]]],
    seeds: list[int],
    theme: Theme,
    name: str,
) -> None:
    plain(axes, theme, grid="y")
    for curve in facet.curves:
        points = _points(curve, read)
        style = {"marker": "o", "markersize": 2.5} if len(points) < 15 else {}
        colour = theme.series(seeds.index(curve.seed))
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=1.2, **style)  # type: ignore[arg-type]
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=1))
    axes.set_ylabel(name)


def _loss(curve: Curve) -> list[tuple[int, float | None]]:
    return [(point.step, point.loss) for point in curve.points]


def _validation(curve: Curve) -> list[tuple[int, float | None]]:
    return [(point.step, point.validation) for point in curve.points]


def _points(curve: Curve, read: Callable[[Curve], list[tuple[int, float | None]]]) -> list[tuple[int, float]]:
    return [(step, value) for step, value in read(curve) if value is not None and math.isfinite(value)]


def _columns(count: int) -> int:
    """As few rows as fit, equally full."""
    return math.ceil(count / math.ceil(count / _COLUMNS))


def _facets(count: int, theme: Theme, *, height: float) -> tuple[Canvas, list[Axes]]:
    columns = _columns(count)
    rows = math.ceil(count / columns)
    figure = canvas(theme, max(_FACET * columns, 4.6), 0.4 + height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in grid[count:]:
        spare.remove()
    return figure, grid[:count]


def _legend(figure: Canvas, theme: Theme, entries: list[tuple[str, int]]) -> None:
    """Names with their colours above the facets."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=theme.series(number), marker="o", markersize=4) for _, number in entries]
    figure.legend(
        handles, [name or " " for name, _ in entries], loc="outside upper left", ncols=min(len(entries), 8),
        frameon=False, labelcolor=theme["ink"], handlelength=1.4, fontsize=8.5, borderpad=0.1,
    )  # fmt: skip
