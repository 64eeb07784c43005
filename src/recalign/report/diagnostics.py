"""Small multiples: reliability diagrams, users' AUCs, training curves. Each part of a figure comes with its title."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from recalign.evaluation.cells import fixed
from recalign.evaluation.document import Bin, Curve
from recalign.report.canvas import PAGE_INCHES, Theme, canvas, plain
from recalign.report.charts import beside, wrapped

_COLUMNS: Final = 6
_WIDEST: Final = 3.1  # inches

Calibration = tuple[str, Sequence[tuple[int | None, Sequence[Bin]]]]  # curves by K, which is None for what has none
Users = tuple[str, Sequence[float]]  # an AUC per user with both labels
Training = tuple[str, Sequence[Curve]]  # one stage of one model, a curve per seed


def draw_reliability(facets: Sequence[Calibration], theme: Theme) -> Canvas:
    """Share of liked samples over the mean predicted probability; on the diagonal a model means what it says.

    Dots grow with the number of samples in their bin.
    """
    figure, cells = _facets(len(facets), theme, height=None)
    shots = sorted({k for _, curves in facets for k, _ in curves}, key=lambda k: k or 0)
    for cell, (title, curves) in zip(cells, facets, strict=True):
        axes = figure.add_subplot(cell)
        plain(axes, theme, grid="both")
        axes.set_title(wrapped(title, 26), loc="left", color=theme["ink"])
        axes.plot([0, 1], [0, 1], color=theme["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        largest = max((point.count for _, bins in curves for point in bins), default=1)
        for k, bins in curves:
            colour = theme.series(shots.index(k))
            where, share = [point.predicted for point in bins], [point.observed for point in bins]
            sizes = [6 + 44 * point.count / max(largest, 1) for point in bins]
            axes.plot(where, share, color=colour, linewidth=1.1, alpha=0.8)
            axes.scatter(where, share, s=sizes, color=colour, linewidths=0, zorder=3, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
        if cell.is_first_col():
            axes.set_ylabel("share liked")
        axes.set_xlabel("predicted probability")
    if len(shots) > 1:
        _legend(figure, theme, [f"K = {k}" if k else "no K" for k in shots])
    return figure


def draw_users(strips: Sequence[Users], theme: Theme) -> Canvas:
    """The AUC within each user as a dot, the middle half of the users as a bar, their median as a line."""
    figure = canvas(theme, 5.8, 0.8 + 0.36 * len(strips))
    axes = figure.add_subplot()
    plain(axes, theme, grid="x")
    rng = np.random.default_rng(0)  # jitter for the eye; no result depends on it
    for row, (_, aucs) in enumerate(strips):
        values = np.array([value for value in aucs if math.isfinite(value)])
        if not values.size:
            continue
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.barh(row, high - low, left=low, height=0.58, color=theme["accent"], alpha=0.18, linewidth=0)
        heights = row + rng.uniform(-0.22, 0.22, values.size)
        alpha = max(0.25, min(0.8, 30 / values.size))
        axes.scatter(values, heights, s=11, color=theme["accent"], alpha=alpha, linewidths=0, clip_on=False, zorder=3)
        axes.plot([middle, middle], [row - 0.33, row + 0.33], color=theme["ink"], linewidth=1.8, zorder=4)
        beside(axes, row, fixed(float(middle), 2), theme)
    axes.axvline(0.5, color=theme["ink"], linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(strips)), [wrapped(title) for title, _ in strips])
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(strips) - 0.4, -0.6)
    axes.set_xlabel("AUC within a user; dashed: chance; right: median")
    return figure


def draw_training(facets: Sequence[Training], theme: Theme) -> Canvas:
    """Loss over steps, and below it the validation AUC where there was one; a line per seed."""
    seeds = sorted({curve.seed for _, curves in facets for curve in curves})
    validated = [any(_points(curve, "validation") for curve in curves) for _, curves in facets]
    figure, cells = _facets(len(facets), theme, height=2.7 if any(validated) else 1.7)
    for cell, (title, curves), both in zip(cells, facets, validated, strict=True):
        upper, *lower = cell.subgridspec(2 if both else 1, 1).subplots(sharex=True, squeeze=False).flat
        upper.set_title(wrapped(title, 26), loc="left", color=theme["ink"])
        _lines(upper, curves, "loss", seeds, theme)
        for axes in lower:
            _lines(axes, curves, "validation", seeds, theme)
        (lower or [upper])[-1].set_xlabel("step")
    if len(seeds) > 1:
        _legend(figure, theme, [f"seed {seed}" for seed in seeds])
    return figure


def _lines(
    axes: Axes, curves: Sequence[Curve], part: Literal["loss", "validation"], seeds: list[int], theme: Theme
) -> None:
    plain(axes, theme, grid="y")
    for curve in curves:
        points = _points(curve, part)
        marker = "o" if len(points) < 15 else ""
        colour = theme.series(seeds.index(curve.seed))
        steps, values = [step for step, _ in points], [value for _, value in points]
        axes.plot(steps, values, color=colour, linewidth=1.2, marker=marker, markersize=2.5)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=1))
    axes.set_ylabel(part)


def _points(curve: Curve, part: Literal["loss", "validation"]) -> list[tuple[int, float]]:
    values = [(point.step, point.loss if part == "loss" else point.validation) for point in curve.points]
    return [(step, value) for step, value in values if value is not None and math.isfinite(value)]


def _facets(count: int, theme: Theme, *, height: float | None) -> tuple[Canvas, list[SubplotSpec]]:
    """A figure with `count` places: as few rows as fit, equally full, square where there is no `height`."""
    columns = math.ceil(count / math.ceil(count / _COLUMNS))
    rows = math.ceil(count / columns)
    width = min(_WIDEST, PAGE_INCHES / columns) if count > 2 else 2.6
    figure = canvas(theme, max(width * columns, 4.6), 0.4 + (height or width) * rows)
    grid = figure.add_gridspec(rows, columns)
    return figure, [grid[place // columns, place % columns] for place in range(count)]


def _legend(figure: Canvas, theme: Theme, names: list[str]) -> None:
    """Names with their colours above the facets."""
    handles = [Line2D([], [], color=theme.series(number), marker="o", markersize=4) for number in range(len(names))]
    figure.legend(
        handles, names, loc="outside upper left", ncols=min(len(names), 8),
        frameon=False, labelcolor=theme["ink"], handlelength=1.4, fontsize=8.5, borderpad=0.1,
    )  # fmt: skip
