"""Which figures a report has, with title, caption and a description in words for those who do not see them.

The data is looked up here, once; the drawing functions get plain numbers. What the run's file asks for comes
first (the papers' figures), then what every panel has: differences from the best prior, reliability, users' AUCs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from matplotlib.figure import Figure as Canvas

from recalign.evaluation.comparisons import best_prior
from recalign.evaluation.document import Curve, Panel, Row
from recalign.evaluation.formats import fixed, interval, prior_name, several_backbones, short_title
from recalign.evaluation.metric import METRICS, Metric, deciding
from recalign.evaluation.tables import TONES
from recalign.experiment.results import Figure, Results
from recalign.report import selection
from recalign.report.curves import Series, draw_shots
from recalign.report.diagnostics import (
    Calibration,
    Training,
    Users,
    draw_reliability,
    draw_training,
    draw_users,
)
from recalign.report.intervals import Bar, Reference, draw_bars
from recalign.report.theme import Theme
from recalign.terminal import printable

MOST_FACETS = 12
MOST_ROWS = 40


@dataclass(frozen=True)
class Plot:
    """A figure to come.

    Attributes:
        place: Its section: the papers' figures, a panel, or training.
        kind: A short word for its file name.
        title: Heading.
        caption: What is drawn and how to read it.
        alt: The same with the numbers, in words.
        draw: Draws it in the colours of a theme; None: there is nothing to draw, and the caption says why.
        wide: Whether it needs the whole width of the page.
        panel: Name of the panel, in the section of a panel.
    """

    place: Literal["paper", "panel", "training"]
    kind: str
    title: str
    caption: str
    alt: str = ""
    draw: Callable[[Theme], Canvas] | None = None
    wide: bool = False
    panel: str = ""


def plots(results: Results) -> list[Plot]:
    """All figures of a report, in their order on the page."""
    panels = {panel.name: panel for panel in results.panels}
    drawn = []
    for figure in results.figures:
        panel = panels.get(figure.panel)
        drawn.append(_missing(figure, f"there is no panel {figure.panel}") if panel is None else _asked(figure, panel))
    for panel in results.panels:
        drawn += [*_differences(panel), *_users(panel), *_reliability(panel)]
    return [*drawn, *_training(results)]


def _asked(figure: Figure, panel: Panel) -> Plot:
    return {"shots": _shots, "bars": _bars, "backbones": _backbones}[figure.kind](figure, panel)


def _missing(figure: Figure, reason: str) -> Plot:
    return Plot("paper", figure.kind, figure.title, f"Not drawn: {reason}.")


def _reference(panel: Panel, metric: str) -> Reference | None:
    best = best_prior(panel.rows, metric, higher_is_better=METRICS.find(metric).higher_is_better)
    value = None if best is None else best.mean(metric)
    return (
        None if best is None or value is None else Reference(f"best prior: {printable(prior_name(best.model))}", value)
    )


def _prior_words(reference: Reference | None) -> str:
    return f" Dashed: {reference.label} ({fixed(reference.value, 4)})." if reference else ""


def _shots(figure: Figure, panel: Panel) -> Plot:
    lines = selection.shot_lines(panel, figure)
    if not lines:
        return _missing(figure, "none of its models has a result")
    several = len({line.backbone for line in lines if line.backbone}) > 1
    series, words = [], []
    for line in lines:
        label = printable(f"{line.model}, {line.backbone}" if several and line.backbone else line.model)
        points = []
        for row in line.points:
            value = row.mean(figure.metric)
            if value is not None and row.shots:
                points.append((row.shots, value, row.metrics[figure.metric].ci))
        level = line.level.mean(figure.metric) if line.level else None
        series.append(Series(label, tuple(points), level))
        told = [f"K={k} {fixed(value, 3)}" for k, value, _ in points]
        told += [] if level is None else [f"without K {fixed(level, 3)}"]
        words.append(f"{label}: {', '.join(told)}")
    reference, name = _reference(panel, figure.metric), METRICS.find(figure.metric).title
    caption = f"{name} on {panel.title}; mean over seeds with 95 % interval.{_prior_words(reference)}"
    if any(line.level is not None for line in series):
        caption += " Dotted: models without K."
    alt = f"Line chart, {name} over K. {'; '.join(words)}.{_prior_words(reference)}"
    draw = partial(draw_shots, tuple(series), axis=name, reference=reference)
    return Plot("paper", "shots", figure.title, caption, alt, draw)


def _axis(metric: Metric) -> str:
    """The axis of a metric, which says where bars begin unless that is 0."""
    return f"{metric.title}; bars begin at chance, {metric.chance:g}" if metric.chance else metric.title


def _bar(row: Row, metric: str, label: str, tone: str = "accent") -> Bar:
    value = row.mean(metric)
    if value is None:
        return Bar(printable(label), absent="not run" if row.status == "not run" else "undefined")
    return Bar(printable(label), value, row.metrics[metric].ci, "muted" if row.kind == "prior" else tone)


def _bar_plot(figure: Figure, panel: Panel, bars: list[Bar]) -> Plot:
    metric = METRICS.find(figure.metric)
    reference = _reference(panel, figure.metric)
    words = [f"{bar.label} {fixed(bar.value, 3)}" for bar in bars if not bar.heading]
    seeds = "mean over seeds with 95 % interval"
    caption = f"{metric.title} on {panel.title}; {seeds}.{_prior_words(reference)}"
    alt = f"Bar chart, {metric.title}. {'; '.join(words)}.{_prior_words(reference)}"
    draw = partial(draw_bars, tuple(bars), axis=_axis(metric), start=metric.chance, reference=reference)
    return Plot("paper", figure.kind, figure.title, caption, alt, draw)


def _bars(figure: Figure, panel: Panel) -> Plot:
    rows = selection.bar_rows(panel, figure)
    several = several_backbones(rows)
    bars = [_bar(row, figure.metric, short_title(row, backbone=several, shots=False)) for row in rows]
    shown = {row.model for row in rows}
    bars += [Bar(printable(model), absent="no such row") for model in figure.models if model not in shown]
    return _bar_plot(figure, panel, bars)


def _backbones(figure: Figure, panel: Panel) -> Plot:
    rows = selection.of_models(panel, figure.models)
    if not rows:
        return _missing(figure, "none of its models has a row")
    shots = {row.shots for row in rows}
    names = list(dict.fromkeys(_within(row, shots) for row in rows))
    bars = []
    for backbone in dict.fromkeys(row.backbone for row in rows):
        bars.append(Bar(printable(backbone) or "no backbone", heading=True))
        for row in rows:
            if row.backbone == backbone:
                name = _within(row, shots)
                bars.append(_bar(row, figure.metric, name, f"series-{names.index(name) % 8 + 1}"))
    return _bar_plot(figure, panel, bars)


def _within(row: Row, shots: set[int | None]) -> str:
    """A row's name inside its backbone's group; "no K" where other rows have one."""
    name = short_title(row, backbone=False)
    return f"{name}, no K" if row.shots is None and len(shots) > 1 and row.kind != "prior" else name


def _differences(panel: Panel) -> Iterator[Plot]:
    """Each model's deciding metric minus that of the best prior."""
    (name, metric), *_ = deciding("samples")
    judged = [(row, row.verdicts[name]) for row in panel.plain_rows if name in row.verdicts]
    if not judged:
        return
    several = several_backbones(row for row, _ in judged)
    bars = [
        Bar(
            printable(short_title(row, backbone=several)), verdict.difference, verdict.interval, TONES[verdict.standing]
        )
        for row, verdict in judged[:MOST_ROWS]
    ]
    prior = printable(prior_name(judged[0][1].prior))
    words = [f"{bar.label} {fixed(bar.value, 3, signed=True)} {interval(bar.interval, signed=True)}" for bar in bars]
    caption = (
        f"{metric.heading} of each model minus that of the best prior, {prior}, with paired 95 % interval. "
        f"Right of the line is better than the prior; an interval across the line decides nothing."
        f"{_left_out(len(judged), MOST_ROWS, 'rows')}"
    )
    axis = f"{metric.heading} minus {metric.heading} of {prior}"
    draw = partial(draw_bars, tuple(bars), axis=axis, start=0.0, style="dot", signed=True)
    alt = f"Differences in {metric.heading} from the prior {prior}. {'; '.join(words)}."
    yield Plot("panel", "priors", "Against the best prior", caption, alt, draw, panel=panel.name)


def _left_out(count: int, most: int, what: str) -> str:
    return f" The first {most} of {count} {what}." if count > most else ""


def _reliability(panel: Panel) -> Iterator[Plot]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in panel.plain_rows:
        if row.reliability:
            groups.setdefault((row.model, row.backbone), []).append(row)
    if not groups:
        return
    several = several_backbones(row for rows in groups.values() for row in rows)
    facets, words = [], []
    for rows in groups.values():
        title = printable(short_title(rows[0], backbone=several, shots=False))
        ordered = sorted(rows, key=lambda row: row.shots or 0)
        chosen = [ordered[index] for index in sorted({0, len(ordered) // 2, len(ordered) - 1})]
        facets.append(Calibration(title, tuple((row.shots, row.reliability) for row in chosen)))
        gaps = [max(abs(point.observed - point.predicted) for point in row.reliability) for row in chosen]
        words.append(f"{title}: largest distance {', '.join(fixed(gap, 3) for gap in gaps)}")
    shown = tuple(facets[:MOST_FACETS])
    caption = (
        "Mean predicted probability of ten bins against the share that was liked; on the dashed diagonal a model means "
        "what it says. Dots grow with the samples in their bin; of more than three K, the smallest, middle and largest."
        f"{_left_out(len(facets), MOST_FACETS, 'models')}"
    )
    alt = f"Reliability diagrams, with the largest distance from the diagonal. {'; '.join(words[:MOST_FACETS])}."
    draw = partial(draw_reliability, shown)
    yield Plot("panel", "reliability", "Reliability", caption, alt, draw, wide=True, panel=panel.name)


def _users(panel: Panel) -> Iterator[Plot]:
    rows = selection.most_shots(row for row in panel.plain_rows if row.user_auc)
    if not rows:
        return
    several = several_backbones(rows)
    strips = tuple(Users(printable(short_title(row, backbone=several)), row.user_auc) for row in rows[:MOST_ROWS])
    caption = (
        f"AUC within each user who has both labels, mean over seeds; bar: the middle half, "
        f"line: the median. Each model at its largest K.{_left_out(len(rows), MOST_ROWS, 'models')}"
    )
    alt = f"Users' AUCs. {'; '.join(f'{strip.title}: {len(strip.values)} users' for strip in strips)}."
    yield Plot("panel", "users", "Within users", caption, alt, partial(draw_users, strips), panel=panel.name)


def _training(results: Results) -> Iterator[Plot]:
    """Training logs, each once, though its model may stand in several panels."""
    rows = [row for panel in results.panels for row in panel.plain_rows if row.training]
    groups: dict[tuple[str, str], list[Curve]] = {}
    several = several_backbones(rows)
    for row in selection.most_shots(rows):
        for curve in row.training:
            title = printable(short_title(row, backbone=several))
            groups.setdefault((title, _stage(curve)), []).append(curve)
    if not groups:
        return
    facets = tuple(Training(f"{title}: {stage}", tuple(curves)) for (title, stage), curves in groups.items())
    shown = facets[:MOST_FACETS]
    caption = (
        "Training loss and, where a stage validates, what selects its step; a line per seed. Each model at its largest "
        f"K.{_left_out(len(facets), MOST_FACETS, 'stages')}"
    )
    last = [f"{facet.title}: last loss {fixed(_last(facet.curves[0]), 3)}" for facet in shown]
    alt = f"Training curves. {'; '.join(last)}."
    yield Plot("training", "training", "Loss and validation", caption, alt, partial(draw_training, shown), wide=True)


def _stage(curve: Curve) -> str:
    """A stage's name without its seed: the curves of all seeds share a plot."""
    return re.sub(rf"[\s,_-]*seed[\s_-]?{curve.seed}(?!\d)", "", printable(curve.stage)) or "stage"


def _last(curve: Curve) -> float | None:
    return curve.points[-1].loss if curve.points else None
