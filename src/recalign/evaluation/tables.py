"""The tables of a panel as plain cells: what stands in them, how it is aligned, what is dimmed. Knows no markup.

The terminal, Markdown and the report's page show the same cells (`recalign.evaluation.render`). Columns come from the
metrics (`recalign.evaluation.metric`); a column in which nothing is defined is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from recalign.evaluation import sentences
from recalign.evaluation.document import Comparison, Difference, Estimate, Panel, Row
from recalign.evaluation.formats import UNDEFINED, deviation, fixed, interval, p_value, several_backbones
from recalign.evaluation.metric import Metric, ordered_metrics

CONTROL_NAMES: Final = {
    "shuffled-history": "Shuffled history",
    "foreign-history": "Foreign history",
    "masked-titles": "Masked titles",
}
Tone = Literal["", "good", "bad", "muted"]
TONES: Final[dict[str, Tone]] = {"above": "good", "below": "bad", "open": "muted"}


@dataclass(frozen=True)
class Cell:
    """`text`, with `minor` after it in smaller grey print."""

    text: str = UNDEFINED
    minor: str = ""
    tone: Tone = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see."""
        return self.text in ("", UNDEFINED) and not self.minor


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: Its heading.
        minor: A smaller second line of the heading.
        numeric: Whether it holds numbers rather than words.
        terminal: Where a terminal of 80 columns has it: as a column, below the column before, or not at all.
    """

    heading: str
    minor: str = ""
    numeric: bool = True
    terminal: Literal["column", "below", "none"] = "column"


@dataclass(frozen=True)
class TableRow:
    """Cells by column. `dim`: a prior. `starts`: the first row of its model."""

    cells: tuple[Cell, ...]
    dim: bool = False
    starts: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption and notes. The first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def minor_widths(self) -> list[int]:
        """Characters that the minor texts of each column need: room for them in every cell keeps numbers aligned."""
        return [
            max((len(row.cells[index].minor) for row in self.rows), default=0) for index in range(len(self.columns))
        ]


Read = Callable[[Row], Cell]
Spec = tuple[Column, Read]


def results_table(panel: Panel) -> Table:
    """All rows without a control, the priors first, the paper's numbers beside ours where it has any."""
    rows = priors_first(panel.plain_rows)
    specs = _names(rows)
    for name, metric in ordered_metrics():
        if metric.column and not metric.subset and (metric.over == "samples" or metric.decides):
            specs += _metric_columns(name, metric, rows, narrow=metric.over == "candidates")
    notes = [sentences.learned(panel.learned), *_reasons(rows), *_columns_left_out(rows)]
    notes += sentences.counted(panel)
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
    """Each metric of a subset, and the deciding metrics under each control, beside the plain row with the change.

    None where there is neither.
    """
    place = _Places(panel)
    if not place.rows:
        return None
    specs = _names(place.rows)[:3]
    for name, metric in ordered_metrics():
        if metric.over == "samples" and metric.decides:
            specs.append((Column("As it is", metric.heading), partial(place.plain_cell, name, metric)))
            for control in place.controls:
                column = Column(CONTROL_NAMES.get(control, control), f"{metric.heading}, change")
                specs.append((column, partial(place.controlled_cell, name, metric, control)))
        if metric.subset:
            column = Column(metric.subset.capitalize(), f"{metric.heading}, change")
            specs.append((column, partial(place.subset_cell, name, metric)))
    notes = [sentences.unseen(panel.unseen, panel.n)] if panel.unseen else []
    return _table(f"Controls on {panel.title}", priors_first(place.rows), specs, notes)


def comparisons_table(panel: Panel) -> Table | None:
    """The paired tests between rows; None where there is none."""
    if not panel.comparisons:
        return None
    words = partial(Column, numeric=False)
    columns = (
        *(words(name) for name in ("Model", "Compared with", "Metric")),
        Column("Difference"),
        Column("95 % interval"),
        Column("p", "Holm"),
        words("Differ?"),
    )
    rows = tuple(TableRow(_compared(comparison)) for comparison in panel.comparisons)
    notes = ("The first model minus the second on the same samples; p-values adjusted for the tests of this table.",)
    return Table(f"Paired comparisons on {panel.title}", columns, rows, notes)


def panel_tables(panel: Panel) -> list[Table]:
    """All tables of a panel that have something to show."""
    tables = (results_table(panel), ranking_table(panel), controls_table(panel), comparisons_table(panel))
    return [table for table in tables if table is not None]


def priors_first(rows: Sequence[Row]) -> list[Row]:
    """Priors, then the others, each in the order given."""
    return sorted(rows, key=lambda row: row.kind != "prior")


def _names(rows: Sequence[Row]) -> list[Spec]:
    several_seeds = any(len(row.seeds) > 1 for row in rows)
    return [
        (Column("Model", numeric=False), lambda row: Cell(row.model, "partial" if row.status == "partial" else "")),
        (Column("Backbone", numeric=False), lambda row: Cell(row.backbone)),
        (Column("K"), lambda row: Cell("" if row.shots is None else f"{row.shots:,}")),
        (Column("Seeds"), lambda row: Cell(str(len(row.seeds)) if row.seeds and several_seeds else "")),
    ]


def _metric_columns(
    name: str, metric: Metric, rows: Sequence[Row], *, narrow: bool, intervals: bool = False
) -> list[Spec]:
    """The columns of a metric; `narrow`: its value and the paper's alone."""
    minor = metric.detail or ("mean ± sd" if metric.decides else "")
    shown: Literal["column", "none"] = "none" if narrow else "column"
    specs: list[Spec] = [(Column(metric.heading, minor, terminal=shown), partial(_value, name, metric))]
    if not narrow and (metric.decides or intervals):
        specs.append((Column("95 % interval", terminal="below"), partial(_interval, name)))
    if not narrow and metric.decides:
        specs.append((Column(f"{metric.heading} − best prior", terminal="none"), partial(_margin, name)))
        specs.append((Column("Beats it?", numeric=False), partial(_beats, name)))
    if any(name in row.published for row in rows):
        column = Column("Paper", metric.heading, terminal="none")
        specs.append((column, lambda row: Cell(fixed(row.published.get(name), metric.digits))))
    return specs


def _value(name: str, metric: Metric, row: Row) -> Cell:
    if row.status == "not run" and metric.decides and metric.over == "samples":
        return Cell("not run", tone="muted")
    return Cell(fixed(row.mean(name), metric.digits), deviation(row.metrics.get(name)))


def _interval(name: str, row: Row) -> Cell:
    estimate = row.metrics.get(name)
    return Cell(interval(estimate.ci if estimate else None))


def _margin(name: str, row: Row) -> Cell:
    verdict = row.verdicts.get(name)
    if verdict is None:
        return Cell("" if row.kind == "prior" else UNDEFINED)
    return Cell(
        fixed(verdict.difference, 3, signed=True),
        "" if verdict.interval is None else interval(verdict.interval, signed=True),
    )


def _beats(name: str, row: Row) -> Cell:
    verdict = row.verdicts.get(name)
    if verdict is None:
        return Cell("" if row.kind == "prior" else UNDEFINED)
    return Cell("yes" if verdict.beats else "no", tone="good" if verdict.beats else _tone(verdict))


def _tone(difference: Difference) -> Tone:
    return TONES[difference.outcome]


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
        name = "prior" if row.kind == "prior" else f"{row.model}\n{row.backbone}"
        shown.append(TableRow(tuple(cells[index] for index in kept), row.kind == "prior", bool(last) and name != last))
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


class _Places:
    """The plain and controlled rows of a panel by model, backbone and shots."""

    def __init__(self, panel: Panel) -> None:
        self.plain = {self._key(row): row for row in panel.plain_rows}
        self.controlled: dict[tuple[str, str, int | None], dict[str, Row]] = {}
        for row in panel.rows:
            if row.control:
                self.controlled.setdefault(self._key(row), {})[row.control] = row
        self.controls = list(dict.fromkeys(name for rows in self.controlled.values() for name in rows))
        subsets = [name for name, metric in ordered_metrics() if metric.subset]
        self.rows = [
            row
            for key, row in self.plain.items()
            if key in self.controlled or any(row.mean(name) is not None for name in subsets)
        ]
        self.rows += [next(iter(rows.values())) for key, rows in self.controlled.items() if key not in self.plain]

    def plain_cell(self, name: str, metric: Metric, row: Row) -> Cell:
        return Cell() if row.control else _value(name, metric, row)

    def controlled_cell(self, name: str, metric: Metric, control: str, row: Row) -> Cell:
        key = self._key(row)
        plain, controlled = self.plain.get(key), self.controlled.get(key, {}).get(control)
        return _changed(metric, *(None if it is None else it.metrics.get(name) for it in (plain, controlled)))

    def subset_cell(self, name: str, metric: Metric, row: Row) -> Cell:
        """The metric on its subset, and the change from the metric of the same heading on all samples."""
        if row.control:
            return Cell()
        whole = next(
            known for known, other in ordered_metrics() if other.heading == metric.heading and not other.subset
        )
        return _changed(metric, row.metrics.get(whole), row.metrics.get(name))

    @staticmethod
    def _key(row: Row) -> tuple[str, str, int | None]:
        return row.model, row.backbone, row.shots


def _changed(metric: Metric, before: Estimate | None, after: Estimate | None) -> Cell:
    old, new = (None if estimate is None else estimate.mean for estimate in (before, after))
    change = "" if old is None or new is None else fixed(new - old, 3, signed=True)
    return Cell(fixed(new, metric.digits), change)


def _compared(comparison: Comparison) -> tuple[Cell, ...]:
    words = Cell(UNDEFINED) if comparison.interval is None else Cell("yes")
    if comparison.interval is not None and comparison.outcome == "open":
        words = Cell("not shown", tone="muted")
    return (
        Cell(comparison.a),
        Cell(comparison.b),
        Cell(sentences.metric_title(comparison.metric)),
        Cell(fixed(comparison.difference, 4, signed=True)),
        Cell(interval(comparison.interval, signed=True)),
        Cell(p_value(comparison.p_value)),
        words,
    )
