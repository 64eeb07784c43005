"""The tables of a panel as plain cells: what stands in them, how it is aligned, what is dimmed. Knows no markup.

Columns come from the metrics (`recalign.evaluation.metric`). A column in which nothing is defined is left out, and a
note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

from recalign.evaluation import sentences
from recalign.evaluation.cells import (
    UNDEFINED,
    Cell,
    Column,
    Table,
    TableRow,
    Tone,
    deviation,
    fixed,
    interval,
    p_value,
    several_backbones,
)
from recalign.evaluation.document import BESIDE, Comparison, Panel, Row
from recalign.evaluation.metric import METRICS, Metric, deciding, ordered_metrics
from recalign.evaluation.verdicts import too_few

TOO_FEW: Final = "too few"  # in the place of a verdict; a note says what it means
TONES: Final[dict[str, Tone]] = {"better": "good", "worse": "bad", "open": "muted"}

Spec = tuple[Column, Callable[[Row], Cell]]


def results_table(panel: Panel) -> Table:
    """All rows without a control, the priors first, the paper's numbers beside ours where it has any."""
    rows = priors_first(panel.plain_rows)
    specs = _names(rows)
    for name, metric in ordered_metrics():
        if metric.column and not metric.subset and (metric.over == "samples" or metric.decides):
            specs += _metric_columns(name, metric, rows, narrow=metric.over == "candidates")
    notes = [*sentences.orders(panel.order_seeds), sentences.learned(panel.learned)]
    notes += [*sentences.references(panel.references), *_reasons(rows), *_columns_left_out(rows)]
    notes += sentences.counted(panel)
    if any(too_few(verdict) for row in rows for verdict in row.verdicts.values()):
        notes.append(sentences.TOO_FEW_SAMPLES)
    return _table(f"Results on {panel.title}", rows, specs, notes)


def ranking_table(panel: Panel) -> Table | None:
    """The metrics over candidate lists with intervals; None where nothing was ranked."""
    metrics = [entry for entry in ordered_metrics() if entry[1].over == "candidates" and entry[1].column]
    rows = [row for row in priors_first(panel.plain_rows) if any(row.mean(name) is not None for name, _ in metrics)]
    if not rows:
        return None
    specs = _names(rows)
    for name, metric in metrics:
        specs += _metric_columns(name, metric, rows, narrow=False, intervals=True)
    notes = sentences.ranked(panel.ranked) if panel.ranked else []
    return _table(f"Ranking of candidates on {panel.title}", rows, specs, notes)


def controls_table(panel: Panel) -> Table | None:
    """Metrics under each control and on each subset, with the change from the plain row; None where there is none."""
    plain = {_place(row): row for row in panel.plain_rows}
    controlled = {(_place(row), row.control): row for row in panel.rows if row.control}
    subsets = [(name, metric) for name, metric in ordered_metrics() if metric.subset]
    places = {place for place, _ in controlled}
    places |= {place for place, row in plain.items() if any(row.mean(name) is not None for name, _ in subsets)}
    if not places:
        return None
    rows = [row for place, row in plain.items() if place in places]
    rows += list({_place(row): row for row in controlled.values() if _place(row) not in plain}.values())

    def as_it_is(name: str, metric: Metric, row: Row) -> Cell:
        return Cell() if row.control else _value(name, metric, row)

    def under(name: str, metric: Metric, control: str, row: Row) -> Cell:
        return _changed(metric, name, plain.get(_place(row)), name, controlled.get((_place(row), control)))

    def on_subset(name: str, metric: Metric, row: Row) -> Cell:
        """The metric on its subset, and the change from the metric of the same heading on all samples."""
        whole = next(old for old, other in ordered_metrics() if other.heading == metric.heading and not other.subset)
        return Cell() if row.control else _changed(metric, whole, row, name, row)

    specs = _names(rows)[:3]
    for name, metric in deciding("samples"):
        specs.append((Column("As it is", metric.heading), partial(as_it_is, name, metric)))
        for control in dict.fromkeys(row.control for row in panel.rows if row.control):
            column = Column(control.replace("-", " ").capitalize(), f"{metric.heading}, change")
            specs.append((column, partial(under, name, metric, control)))
    for name, metric in subsets:
        column = Column(metric.subset.capitalize(), f"{metric.heading}, change")
        specs.append((column, partial(on_subset, name, metric)))
    notes = [sentences.unseen(panel.unseen, panel.n)] if panel.unseen else []
    return _table(f"Controls on {panel.title}", priors_first(rows), specs, notes)


def comparisons_table(panel: Panel) -> Table | None:
    """The paired tests between rows; None where there is none."""
    return compared_table(panel.comparisons, f"Paired comparisons on {panel.title}") if panel.comparisons else None


def compared_table(comparisons: Sequence[Comparison], caption: str, *, details: bool = True) -> Table:
    """Paired tests of one family; `details`: what metrics are about stands after their heading."""
    words = partial(Column, numeric=False)
    columns = (
        *(words(name) for name in ("Model", "Compared with", "Metric")),
        Column("Difference"),
        Column("95 % interval", terminal="below"),
        Column("p", "Holm"),
        words("Differ?"),
    )
    rows = tuple(TableRow(_compared(comparison, details=details)) for comparison in comparisons)
    notes = ("The first model minus the second on the same samples; p-values adjusted for the tests of this table.",)
    return Table(caption, columns, rows, notes)


def panel_tables(panel: Panel) -> list[Table]:
    """All tables of a panel that have something to show."""
    tables = (results_table(panel), ranking_table(panel), controls_table(panel), comparisons_table(panel))
    return [table for table in tables if table is not None]


def priors_first(rows: Sequence[Row]) -> list[Row]:
    """Priors, then references, then the others, each in the order given."""
    return sorted(rows, key=lambda row: [*BESIDE, row.kind].index(row.kind))


def _names(rows: Sequence[Row]) -> list[Spec]:
    specs: list[Spec] = [
        (Column("Model", numeric=False), lambda row: Cell(row.model, "partial" if row.status == "partial" else "")),
        (Column("Backbone", numeric=False), lambda row: Cell(row.backbone)),
        (Column("K"), lambda row: Cell("" if row.shots is None else f"{row.shots:,}")),
    ]
    if any(len(row.seeds) > 1 for row in rows):
        specs.append((Column("Seeds"), lambda row: Cell(str(len(row.seeds)) if row.seeds else "")))
    return specs


def _metric_columns(
    name: str, metric: Metric, rows: Sequence[Row], *, narrow: bool, intervals: bool = False
) -> list[Spec]:
    """The columns of a metric; `narrow`: its value and the paper's alone."""

    def span(row: Row) -> Cell:
        estimate = row.metrics.get(name)
        return Cell(interval(estimate.ci if estimate else None))

    def margin(row: Row) -> Cell:
        if name not in row.verdicts:
            return absent(row)
        verdict = row.verdicts[name]
        minor = "" if verdict.interval is None else interval(verdict.interval, signed=True)
        return Cell(fixed(verdict.difference, 3, signed=True), minor)

    def beats(row: Row) -> Cell:
        if name not in row.verdicts:
            return absent(row)
        verdict = row.verdicts[name]
        text = "yes" if verdict.beats else TOO_FEW if too_few(verdict) else "no"
        return Cell(text, tone=TONES[verdict.standing])

    def absent(row: Row) -> Cell:
        return Cell("" if row.kind in BESIDE else UNDEFINED)

    minor = metric.detail or ("mean ± sd" if metric.decides else "")
    shown: Literal["column", "none"] = "none" if narrow else "column"
    specs: list[Spec] = [
        (Column(metric.heading, minor, meaning=metric.meaning, terminal=shown), partial(_value, name, metric))
    ]
    if not narrow and (metric.decides or intervals):
        specs.append((Column("95 % interval", terminal="below"), span))
    if not narrow and metric.decides:
        specs.append((Column(f"{metric.heading} − best prior", terminal="none"), margin))
        specs.append((Column("Beats prior?", numeric=False), beats))
    if any(name in row.published for row in rows):
        column = Column("Paper", metric.heading, terminal="none")
        specs.append((column, lambda row: Cell(fixed(row.published.get(name), metric.digits))))
    return specs


def _value(name: str, metric: Metric, row: Row) -> Cell:
    if row.status == "not run" and metric.decides and metric.over == "samples":
        return Cell("not run", tone="muted")
    return Cell(fixed(row.mean(name), metric.digits), deviation(row.metrics.get(name)))


def _table(caption: str, rows: Sequence[Row], specs: Sequence[Spec], notes: Sequence[str] = ()) -> Table:
    """Rows under the columns that hold anything."""
    grid = [[read(row) for _, read in specs] for row in rows]
    needless = set() if several_backbones(rows) else {"Backbone"}
    kept = [
        index
        for index, (column, _) in enumerate(specs)
        if index == 0 or (column.heading not in needless and any(not cells[index].empty for cells in grid))
    ]
    last = ""
    shown = []
    for row, cells in zip(rows, grid, strict=True):
        name = "beside" if row.kind in BESIDE else f"{row.model}\n{row.backbone}"
        shown.append(TableRow(tuple(cells[index] for index in kept), row.kind in BESIDE, bool(last) and name != last))
        last = name
    backbone = next((row.backbone for row in rows if row.backbone), "")
    more = [f"Backbone of the language models: {backbone}."] if backbone and needless else []
    return Table(caption, tuple(specs[index][0] for index in kept), tuple(shown), (*notes, *more))


def _columns_left_out(rows: Sequence[Row]) -> list[str]:
    """Metrics over samples that are undefined for every row, with the reason of the first."""
    reasons: dict[str, list[str]] = {}
    for name, metric in ordered_metrics():
        estimates = [row.metrics[name] for row in rows if name in row.metrics]
        plain = metric.column and metric.over == "samples" and not metric.subset
        if plain and all(estimate.mean is None for estimate in estimates):
            reason = next((estimate.reason for estimate in estimates if estimate.reason), "nothing was scored")
            reasons.setdefault(reason, []).append(metric.title)
    return [f"No column for {', '.join(titles)}: {reason}." for reason, titles in reasons.items()]


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are partial or not run: one line for all K of a model with the same reason."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.reason:
            groups.setdefault((row.model, row.backbone, row.reason), []).append(row)
    lines = []
    for (model, backbone, reason), group in groups.items():
        shots = [str(row.shots) for row in group if row.shots is not None]
        parts = [model, backbone, f"K = {', '.join(shots)}" if shots else ""]
        lines.append(f"{', '.join(part for part in parts if part)}: {reason}")
    return lines


def _place(row: Row) -> tuple[str, str, int | None]:
    return row.model, row.backbone, row.shots


def _changed(metric: Metric, old_name: str, before: Row | None, new_name: str, after: Row | None) -> Cell:
    old, new = before.mean(old_name) if before else None, after.mean(new_name) if after else None
    change = "" if old is None or new is None else fixed(new - old, 3, signed=True)
    return Cell(fixed(new, metric.digits), change)


def _compared(comparison: Comparison, *, details: bool) -> tuple[Cell, ...]:
    name = comparison.metric
    if name in METRICS.names():
        name = METRICS.find(name).title if details else METRICS.find(name).heading
    words = Cell(UNDEFINED) if comparison.interval is None else Cell("yes")
    if comparison.interval is not None and comparison.outcome == "open":
        words = Cell("not shown", tone="muted")
    return (
        Cell(comparison.a),
        Cell(comparison.b),
        Cell(name),
        Cell(fixed(comparison.difference, 4, signed=True)),
        Cell(interval(comparison.interval, signed=True)),
        Cell(p_value(comparison.p_value)),
        words,
    )
