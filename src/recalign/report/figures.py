"""Which figures a report has, with title, caption and a description in words for those who do not see them.

The data is looked up here, once; the drawing functions get plain numbers. What the run's file asks for comes
first (the papers' figures), then what every panel has: differences from the best prior, users' AUCs, reliability.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from matplotlib.figure import Figure as Canvas

from recalign.evaluation.cells import fixed, interval, prior_name, short_titles
from recalign.evaluation.document import BESIDE, Curve, Panel, Row
from recalign.evaluation.metric import METRICS, deciding
from recalign.evaluation.panel import best_prior
from recalign.evaluation.tables import TONES
from recalign.experiment.results import Figure, Results
from recalign.report.canvas import PAGE_INCHES, Theme
from recalign.report.charts import Bar, Reference, Series, draw_bars, draw_shots
from recalign.report.diagnostics import Calibration, Training, Users, draw_reliability, draw_training, draw_users
from recalign.terminal import printable

MOST_FACETS: Final = 12
MOST_ROWS: Final = 40


@dataclass(frozen=True)
class Plot:
    """A figure to come.

    Attributes:
        place: Its section: the papers' figures, a panel, or training.
        kind: A short word for its file name.
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
    asked = {"shots": _shots, "bars": _bars, "backbones": _backbones}
    panels = {panel.name: panel for panel in results.panels}
    drawn = []
    for figure in results.figures:
        panel = panels.get(figure.panel)
        missing = _missing(figure, f"there is no panel {figure.panel}")
        drawn.append(missing if panel is None else asked[figure.kind](figure, panel))
    for panel in results.panels:
        drawn += [*_differences(panel), *_users(panel), *_reliability(panel)]
    return [*drawn, *_training(results)]


def bar_rows(panel: Panel, figure: Figure) -> list[Row]:
    """The rows of a figure of kind ``bars``: its models at its K. Priors and references have none and are shown."""
    return [row for row in _of_models(panel, figure) if row.kind in BESIDE or row.shots == figure.shots]


def shot_lines(panel: Panel, figure: Figure) -> list[Series]:
    """The lines of a figure of kind ``shots``: one per model and backbone that has a value anywhere."""
    known = [row for row in _of_models(panel, figure) if row.mean(figure.metric) is not None]
    lines = []
    for rows in _by_model(known):
        points = tuple(
            (row.shots, value, row.metrics[figure.metric].ci)
            for row in sorted(rows, key=lambda row: row.shots or 0)
            if row.shots and (value := row.mean(figure.metric)) is not None
        )
        level = next((row.mean(figure.metric) for row in rows if not row.shots), None)
        lines.append(Series(printable(short_titles(known, shots=False)(rows[0])), points, level))
    return lines


def _of_models(panel: Panel, figure: Figure) -> list[Row]:
    """The panel's plain rows of the figure's models, in the order of these."""
    return [row for model in figure.models for row in panel.plain_rows if row.model == model]


def _by_model(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each model and backbone."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.backbone), []).append(row)
    return list(groups.values())


def _most_shots(rows: Iterable[Row]) -> list[Row]:
    """One row per model and backbone: that with the most shots (where none has a K, the first)."""
    return [max(group, key=lambda row: row.shots or 0) for group in _by_model(rows)]


def _missing(figure: Figure, reason: str) -> Plot:
    return Plot("paper", figure.kind, figure.title, f"Not drawn: {reason}.")


def _reference(panel: Panel, metric: str) -> Reference | None:
    best = best_prior(panel.rows, metric, higher_is_better=METRICS.find(metric).higher_is_better)
    value = None if best is None else best.mean(metric)
    if best is None or value is None:
        return None
    return Reference(f"best prior: {printable(prior_name(best.model))}", value)


def _paper_plot(figure: Figure, panel: Panel, chart: str, words: Sequence[str], draw: Callable[..., Canvas]) -> Plot:
    """A figure of one metric, with the best prior; `words` are its values in words."""
    name, reference = METRICS.find(figure.metric).title, _reference(panel, figure.metric)
    prior = f" Dashed: {reference.label} ({fixed(reference.value, 4)})." if reference else ""
    caption = f"{name} on {panel.title}; mean over seeds with 95 % interval.{prior}"
    alt = f"{chart}. {'; '.join(words)}.{prior}"
    return Plot("paper", figure.kind, figure.title, caption, alt, partial(draw, reference=reference))


def _shots(figure: Figure, panel: Panel) -> Plot:
    lines = shot_lines(panel, figure)
    if not lines:
        return _missing(figure, "none of its models has a result")
    words = []
    for line in lines:
        told = [f"K={k} {fixed(value, 3)}" for k, value, _ in line.points]
        told += [] if line.level is None else [f"without K {fixed(line.level, 3)}"]
        words.append(f"{line.label}: {', '.join(told)}")
    name = METRICS.find(figure.metric).title
    draw = partial(draw_shots, tuple(lines), axis=name)
    plot = _paper_plot(figure, panel, f"Line chart, {name} over K", words, draw)
    dotted = any(line.level is not None for line in lines)
    return replace(plot, caption=f"{plot.caption} Dotted: models without K.") if dotted else plot


def _bar(row: Row, metric: str, label: str, tone: str = "accent") -> Bar:
    value = row.mean(metric)
    if value is None:
        return Bar(printable(label), absent="not run" if row.status == "not run" else "undefined")
    return Bar(printable(label), value, row.metrics[metric].ci, "muted" if row.kind in BESIDE else tone)


def _bar_plot(figure: Figure, panel: Panel, bars: list[Bar]) -> Plot:
    metric = METRICS.find(figure.metric)
    words = [f"{bar.label} {fixed(bar.value, 3)}" for bar in bars if not bar.heading]
    axis = f"{metric.title}; bars begin at chance, {metric.chance:g}" if metric.chance else metric.title
    draw = partial(draw_bars, tuple(bars), axis=axis, start=metric.chance)
    return _paper_plot(figure, panel, f"Bar chart, {metric.title}", words, draw)


def _bars(figure: Figure, panel: Panel) -> Plot:
    rows = bar_rows(panel, figure)
    title = short_titles(rows, shots=False)
    bars = [_bar(row, figure.metric, title(row)) for row in rows]
    shown = {row.model for row in rows}
    bars += [Bar(printable(model), absent="no such row") for model in figure.models if model not in shown]
    return _bar_plot(figure, panel, bars)


def _backbones(figure: Figure, panel: Panel) -> Plot:
    rows = _of_models(panel, figure)
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
    name = short_titles([row])(row)
    return f"{name}, no K" if row.shots is None and len(shots) > 1 and row.kind not in BESIDE else name


def _differences(panel: Panel) -> Iterator[Plot]:
    """Each model's deciding metric minus that of the best prior."""
    (name, metric), *_ = deciding("samples")
    judged = [row for row in panel.plain_rows if name in row.verdicts]
    if not judged:
        return
    title = short_titles(judged)
    bars = []
    for row in judged[:MOST_ROWS]:
        verdict = row.verdicts[name]
        bars.append(Bar(printable(title(row)), verdict.difference, verdict.interval, TONES[verdict.standing]))
    prior = printable(prior_name(judged[0].verdicts[name].prior))
    words = [f"{bar.label} {fixed(bar.value, 3, signed=True)} {interval(bar.interval, signed=True)}" for bar in bars]
    caption = (
        f"{metric.heading} of each model minus that of the best prior, {prior}, with paired 95 % interval. "
        "Right of the line is better than the prior; where the interval crosses the line, the two are not "
        f"distinguishable.{_left_out(judged, MOST_ROWS, 'rows')}"
    )
    alone = not any(row.user_auc for row in panel.plain_rows)  # no figure of users stands beside it
    axis = f"{metric.heading} minus {metric.heading} of {prior}"
    width = PAGE_INCHES if alone else 5.8
    draw = partial(draw_bars, tuple(bars), axis=axis, start=0.0, style="dot", width=width)
    alt = f"Differences in {metric.heading} from the prior {prior}. {'; '.join(words)}."
    yield Plot("panel", "priors", "Against the best prior", caption, alt, draw, wide=alone, panel=panel.name)


def _left_out(entries: Sequence[object], most: int, what: str) -> str:
    return f" The first {most} of {len(entries)} {what}." if len(entries) > most else ""


def _reliability(panel: Panel) -> Iterator[Plot]:
    known = [row for row in panel.plain_rows if row.reliability]
    if not known:
        return
    facets: list[Calibration] = []
    words = []
    for rows in _by_model(known):
        title = printable(short_titles(known, shots=False)(rows[0]))
        ordered = sorted(rows, key=lambda row: row.shots or 0)
        chosen = [ordered[index] for index in sorted({0, len(ordered) // 2, len(ordered) - 1})]
        facets.append((title, [(row.shots, row.reliability) for row in chosen]))
        gaps = [max(abs(point.observed - point.predicted) for point in row.reliability) for row in chosen]
        words.append(f"{title}: largest distance {', '.join(fixed(gap, 3) for gap in gaps)}")
    caption = (
        "Mean predicted probability of each bin against the share that was liked; on the dashed diagonal a model means "
        "what it says. Dots grow with the samples in their bin; of more than three K, the smallest, middle and largest."
        f"{_left_out(facets, MOST_FACETS, 'models')}"
    )
    alt = f"Reliability diagrams, with the largest distance from the diagonal. {'; '.join(words[:MOST_FACETS])}."
    draw = partial(draw_reliability, facets[:MOST_FACETS])
    wide = len(facets) > 2
    yield Plot("panel", "reliability", "Reliability", caption, alt, draw, wide=wide, panel=panel.name)


def _users(panel: Panel) -> Iterator[Plot]:
    rows = _most_shots(row for row in panel.plain_rows if row.user_auc)
    if not rows:
        return
    title = short_titles(rows)
    strips: list[Users] = [(printable(title(row)), row.user_auc) for row in rows[:MOST_ROWS]]
    caption = (
        f"AUC within each user who has both labels, mean over seeds; bar: the middle half, "
        f"line: the median. Each model at its largest K.{_left_out(rows, MOST_ROWS, 'models')}"
    )
    alt = f"Users' AUCs. {'; '.join(f'{name}: {len(aucs)} users' for name, aucs in strips)}."
    yield Plot("panel", "users", "Within users", caption, alt, partial(draw_users, strips), panel=panel.name)


def _training(results: Results) -> Iterator[Plot]:
    """Training logs, each once, though its model may stand in several panels."""
    rows = [row for panel in results.panels for row in panel.plain_rows if row.training]
    title = short_titles(rows)
    groups: dict[str, list[Curve]] = {}
    for row in _most_shots(rows):
        for curve in row.training:
            model, stage = printable(title(row)), _stage(curve)
            groups.setdefault(model if stage == model else f"{model}: {stage}", []).append(curve)
    if not groups:
        return
    facets: list[Training] = list(groups.items())
    shown = facets[:MOST_FACETS]
    caption = (
        "Training loss and, where a stage validates, what selects its step; a line per seed. Each model at its largest "
        f"K.{_left_out(facets, MOST_FACETS, 'stages')}"
    )
    last = [
        f"{name}: last loss {fixed(curves[0].points[-1].loss if curves[0].points else None, 3)}"
        for name, curves in shown
    ]
    alt = f"Training curves. {'; '.join(last)}."
    draw, wide = partial(draw_training, shown), len(shown) > 2
    yield Plot("training", "training", "Loss and validation", caption, alt, draw, wide)


def _stage(curve: Curve) -> str:
    """A stage's name without its seed: the curves of all seeds share a plot."""
    return re.sub(rf"[\s,_-]*seed[\s_-]?{curve.seed}(?!\d)", "", printable(curve.stage)) or "stage"
