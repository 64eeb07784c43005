"""Which figures a report has, with title, caption and a description in words for those who do not see them.

The data is looked up here, once; the drawing functions get plain numbers. What the experiment's file asks for comes
first (the papers' figures), then what every panel has: differences from the best prior, reliability, users' AUCs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from matplotlib.figure import Figure as Canvas

from recalign.experiment.study import Curve, Figure, Panel, Row, Study, Verdict
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
from recalign.report.formats import METRIC_NAMES, fixed, interval, mean, prior_name, short_title
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


def plots(study: Study) -> list[Plot]:
    """All figures of a report, in their order on the page."""
    panels = {panel.name: panel for panel in study.panels}
    found = []
    for figure in study.figures:
        panel = panels.get(figure.panel)
        found.append(_missing(figure, f"there is no panel {figure.panel}") if panel is None else _asked(figure, panel))
    for panel in study.panels:
        found += [*_differences(panel), *_users(panel), *_reliability(panel)]
    return [*found, *_training(study)]


def _asked(figure: Figure, panel: Panel) -> Plot:
    return {"shots": _shots, "bars": _bars, "backbones": _backbones}[figure.kind](figure, panel)


def _missing(figure: Figure, reason: str) -> Plot:
    return Plot("paper", figure.kind, figure.title, f"Not drawn: {reason}.")


def _reference(panel: Panel, metric: str) -> Reference | None:
    best = selection.best_prior(panel, metric)
    return None if best is None else Reference(f"best prior: {printable(prior_name(best[0].model))}", best[1])


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
            measured = selection.metric(row, figure.metric)
            if measured is not None and row.shots:
                points.append((row.shots, measured.mean, measured.ci))
        level = selection.metric(line.level, figure.metric) if line.level else None
        series.append(Series(label, tuple(points), None if level is None else level.mean))
        told = [f"K={k} {fixed(value, 3)}" for k, value, _ in points]
        told += [] if level is None else [f"without K {fixed(level.mean, 3)}"]
        words.append(f"{label}: {', '.join(told)}")
    reference, name = _reference(panel, figure.metric), METRIC_NAMES[figure.metric]
    caption = f"{name} on {panel.title}; mean over seeds with 95 % interval.{_prior_words(reference)}"
    if any(one.level is not None for one in series):
        caption += " Dotted: models without K."
    alt = f"Line chart, {name} over K. {'; '.join(words)}.{_prior_words(reference)}"
    draw = partial(draw_shots, tuple(series), axis=name, reference=reference)
    return Plot("paper", "shots", figure.title, caption, alt, draw)


def _start(metric: str) -> tuple[float, str]:
    """Where bars of a metric begin, and the axis that says so."""
    name = METRIC_NAMES[metric]
    return (0.5, f"{name}; bars begin at chance, 0.5") if metric in ("auc", "gauc") else (0.0, name)


def _bar(row: Row, metric: str, label: str, tone: str = "accent") -> Bar:
    measured = selection.metric(row, metric)
    absent = "not run" if row.status == "not run" else "undefined"
    if measured is None:
        return Bar(printable(label), absent=absent)
    return Bar(printable(label), measured.mean, measured.ci, "muted" if row.kind == "prior" else tone)


def _bar_plot(figure: Figure, panel: Panel, bars: list[Bar]) -> Plot:
    start, axis = _start(figure.metric)
    reference = _reference(panel, figure.metric)
    words = [f"{bar.label} {fixed(bar.value, 3)}" for bar in bars if not bar.heading]
    seeds = "mean over seeds with 95 % interval"
    caption = f"{METRIC_NAMES[figure.metric]} on {panel.title}; {seeds}.{_prior_words(reference)}"
    alt = f"Bar chart, {METRIC_NAMES[figure.metric]}. {'; '.join(words)}.{_prior_words(reference)}"
    draw = partial(draw_bars, tuple(bars), axis=axis, start=start, reference=reference)
    return Plot("paper", figure.kind, figure.title, caption, alt, draw)


def _bars(figure: Figure, panel: Panel) -> Plot:
    rows = selection.bar_rows(panel, figure)
    several = selection.several_backbones(rows)
    bars = [_bar(row, figure.metric, short_title(row, backbone=several, shots=False)) for row in rows]
    found = {row.model for row in rows}
    bars += [Bar(printable(model), absent="no such row") for model in figure.models if model not in found]
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
    """Each model's AUC minus that of the best prior."""
    judged = [(row, row.verdict) for row in selection.plain_rows(panel) if row.verdict is not None]
    if not judged:
        return
    several = selection.several_backbones(row for row, _ in judged)
    shown = judged[:MOST_ROWS]
    bars = [
        Bar(printable(short_title(row, backbone=several)), verdict.difference, verdict.interval, _tone(verdict))
        for row, verdict in shown
    ]
    prior = printable(prior_name(shown[0][1].prior))
    words = [f"{bar.label} {fixed(bar.value, 3, signed=True)} {interval(bar.interval, signed=True)}" for bar in bars]
    caption = (
        f"AUC of each model minus that of the best prior, {prior}, with paired 95 % interval. Right of the line is "
        f"better than the prior; an interval across the line decides nothing."
        f"{_left_out(len(judged), MOST_ROWS, 'rows')}"
    )
    draw = partial(draw_bars, tuple(bars), axis=f"AUC minus AUC of {prior}", start=0.0, style="dot", signed=True)
    alt = f"Differences in AUC from the prior {prior}. {'; '.join(words)}."
    yield Plot("panel", "priors", "Against the best prior", caption, alt, draw, panel=panel.name)


def _tone(verdict: Verdict) -> str:
    below = verdict.interval is not None and verdict.interval[1] < 0
    return "good" if verdict.beats else "bad" if below else "muted"


def _left_out(count: int, most: int, what: str) -> str:
    return f" The first {most} of {count} {what}." if count > most else ""


def _reliability(panel: Panel) -> Iterator[Plot]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in selection.plain_rows(panel):
        if row.reliability:
            groups.setdefault((row.model, row.backbone), []).append(row)
    if not groups:
        return
    several = selection.several_backbones(row for rows in groups.values() for row in rows)
    facets, words = [], []
    for rows in groups.values():
        title = printable(short_title(rows[0], backbone=several, shots=False))
        ordered = sorted(rows, key=lambda row: row.shots or 0)
        chosen = [ordered[index] for index in sorted({0, len(ordered) // 2, len(ordered) - 1})]
        facets.append(Calibration(title, tuple((row.shots, row.reliability) for row in chosen)))
        words.append(f"{title}: ECE {', '.join(fixed(mean(row.metrics.ece), 3) for row in chosen)}")
    shown = tuple(facets[:MOST_FACETS])
    caption = (
        "Mean predicted probability of ten bins against the share that was liked; on the dashed diagonal a model means "
        "what it says. Dots grow with the samples in their bin; of more than three K, the smallest, middle and largest."
        f"{_left_out(len(facets), MOST_FACETS, 'models')}"
    )
    alt = f"Reliability diagrams. {'; '.join(words[:MOST_FACETS])}."
    draw = partial(draw_reliability, shown)
    yield Plot("panel", "reliability", "Reliability", caption, alt, draw, wide=True, panel=panel.name)


def _users(panel: Panel) -> Iterator[Plot]:
    rows = selection.most_shots(row for row in selection.plain_rows(panel) if row.user_auc)
    if not rows:
        return
    several = selection.several_backbones(rows)
    strips = tuple(Users(printable(short_title(row, backbone=several)), row.user_auc) for row in rows[:MOST_ROWS])
    caption = (
        f"AUC within each of {panel.gauc_users:,} users who have both labels, mean over seeds; bar: the middle half, "
        f"line: the median. Each model at its largest K.{_left_out(len(rows), MOST_ROWS, 'models')}"
    )
    alt = f"Users' AUCs. {'; '.join(f'{each.title}: {len(each.values)} users' for each in strips)}."
    yield Plot("panel", "users", "Within users", caption, alt, partial(draw_users, strips), panel=panel.name)


def _training(study: Study) -> Iterator[Plot]:
    """Training logs, each once, though its model may stand in several panels."""
    rows = [row for panel in study.panels for row in selection.plain_rows(panel) if row.training]
    groups: dict[tuple[str, str], list[Curve]] = {}
    several = selection.several_backbones(rows)
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
