"""The tables of a page as plain cells: what stands in them, how it is aligned, what is dimmed. Knows no markup.

Columns in which nothing is defined are left out; the note below the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from recalign.experiment.study import Comparison, Measured, Missing, Panel, Row, Verdict
from recalign.report.formats import METRIC_NAMES, UNDEFINED, deviation, fixed, interval, mean, p_value, plural
from recalign.report.selection import plain_rows, several_backbones

CONTROL_NAMES: Final = {
    "shuffled-history": "Shuffled history",
    "foreign-history": "Foreign history",
    "masked-titles": "Masked titles",
}


@dataclass(frozen=True)
class Cell:
    """`text`, and `minor` in smaller grey print behind it."""

    text: str = UNDEFINED
    minor: str = ""
    tone: Literal["", "good", "bad", "muted"] = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see."""
        return self.text in ("", UNDEFINED) and not self.minor


@dataclass(frozen=True)
class Column:
    """A column: its heading, a smaller second line of it, and whether it holds words or numbers."""

    heading: str
    minor: str = ""
    numeric: bool = True


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
    notes: tuple[str, ...] = field(default=())

    @property
    def minor_widths(self) -> list[int]:
        """Characters that the minor texts of each column need: room for them in every cell keeps numbers aligned."""
        return [
            max((len(row.cells[index].minor) for row in self.rows), default=0) for index in range(len(self.columns))
        ]


def _metric(read: Callable[[Row], Measured | None], digits: int = 4) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        measured = read(row)
        return Cell(fixed(mean(measured), digits), deviation(measured))

    return cell


def _published(name: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(fixed(row.published.get(name), 4))


def _beats(read: Callable[[Row], Verdict | None]) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        verdict = read(row)
        if verdict is None:
            return Cell("" if row.kind == "prior" else UNDEFINED)
        if verdict.beats:
            return Cell("yes", tone="good")
        below = verdict.interval is not None and verdict.interval[1] < 0
        return Cell("no", tone="bad" if below else "muted")

    return cell


def _margin(read: Callable[[Row], Verdict | None]) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        verdict = read(row)
        if verdict is None:
            return Cell("" if row.kind == "prior" else UNDEFINED)
        span = "" if verdict.interval is None else interval(verdict.interval, signed=True)
        return Cell(fixed(verdict.difference, 3, signed=True), span)

    return cell


def _auc(row: Row) -> Cell:
    if row.status == "not run":
        return Cell("not run", tone="muted")
    return _metric(lambda each: each.metrics.auc)(row)


_Spec = tuple[Column, Callable[[Row], Cell]]

_NAME: Final[tuple[_Spec, ...]] = (
    (Column("Model", numeric=False), lambda row: Cell(row.model, "partial" if row.status == "partial" else "")),
    (Column("Backbone", numeric=False), lambda row: Cell(row.backbone)),
    (Column("K"), lambda row: Cell("" if row.shots is None else f"{row.shots:,}")),
    (Column("Seeds"), lambda row: Cell(str(len(row.seeds)) if row.seeds else "")),
)
_RESULTS: Final[tuple[_Spec, ...]] = (
    *_NAME,
    (Column("AUC", "mean ± sd"), lambda row: _auc(row)),
    (Column("95 % interval"), lambda row: Cell(interval(row.metrics.auc.ci) if row.metrics.auc else UNDEFINED)),
    (Column("AUC − best prior", "95 % interval"), _margin(lambda row: row.verdict)),
    (Column("Beats the", "priors?", numeric=False), _beats(lambda row: row.verdict)),
    (Column("Paper", "AUC"), _published("auc")),
    (Column("GAUC"), _metric(lambda row: row.metrics.gauc)),
    (Column("NDCG@10", "candidates"), _metric(lambda row: row.metrics.ndcg)),
    (Column("NDCG@10", "labelled lists"), _metric(lambda row: row.metrics.labelled_ndcg)),
    (Column("Paper", "NDCG@10"), _published("ndcg")),
    (Column("LogLoss"), lambda row: Cell(fixed(mean(row.metrics.logloss), 3))),
    (Column("ECE"), lambda row: Cell(fixed(mean(row.metrics.ece), 3))),
)
_RANKING: Final[tuple[_Spec, ...]] = (
    *_NAME,
    (Column("NDCG@10", "mean ± sd"), _metric(lambda row: row.metrics.ndcg)),
    (Column("95 % interval"), lambda row: Cell(interval(row.metrics.ndcg.ci) if row.metrics.ndcg else UNDEFINED)),
    (Column("Recall@10"), _metric(lambda row: row.metrics.recall)),
    (Column("MRR"), _metric(lambda row: row.metrics.mrr)),
    (Column("NDCG@10 − best rival", "95 % interval"), _margin(lambda row: row.ranking_verdict)),
    (Column("Beats it?", numeric=False), _beats(lambda row: row.ranking_verdict)),
)


def _table(caption: str, rows: Sequence[Row], specs: Sequence[_Spec], notes: Sequence[str] = ()) -> Table:
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
    columns = tuple(specs[index][0] for index in kept)
    absent = [each.heading for index, (each, _) in enumerate(specs) if index not in kept]
    undefined = [name for name in ("AUC", "GAUC", "LogLoss", "ECE") if name in absent and specs is _RESULTS]
    more = [f"No column for {', '.join(undefined)}: undefined for every row."] if undefined else []
    backbone = next((row.backbone for row in rows if row.backbone), "")
    more += [f"Backbone of the language models: {backbone}."] if backbone and needless else []
    return Table(caption, columns, tuple(shown), (*notes, *more))


def priors_first(rows: Sequence[Row]) -> list[Row]:
    """Priors, then the others, each in the order given."""
    return sorted(rows, key=lambda row: row.kind != "prior")


def results_table(panel: Panel) -> Table:
    """All rows without a control, the priors first, the paper's numbers beside ours where it has any."""
    rows = priors_first(plain_rows(panel))
    notes = [panel.priors_note] if panel.priors_note else []
    notes += _reasons(rows)
    notes += [
        f"{row.title}: {plural(row.refused, 'question')} without an answer, left out." for row in rows if row.refused
    ]
    return _table(f"Results on {panel.title}", rows, _RESULTS, notes)


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are partial or not run: one line for all K of a model with the same reason."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.reason:
            groups.setdefault((row.model, row.backbone, row.reason), []).append(row)
    lines = []
    for (model, backbone, reason), found in groups.items():
        shots = [str(row.shots) for row in found if row.shots is not None]
        parts = [model, backbone, f"K = {', '.join(shots)}" if shots else ""]
        lines.append(f"{', '.join(part for part in parts if part)}: {reason}")
    return lines


def ranking_table(panel: Panel) -> Table | None:
    """NDCG@10, Recall@10 and MRR over the candidates; None where nothing was ranked."""
    rows = [row for row in priors_first(plain_rows(panel)) if row.metrics.ndcg or row.metrics.recall or row.metrics.mrr]
    notes = [panel.ranking_note] if panel.ranking_note else []
    return _table(f"Ranking of candidates on {panel.title}", rows, _RANKING, notes) if rows else None


def controls_table(panel: Panel) -> Table | None:
    """AUC under each control beside the plain row, with the change; None where there is none."""
    plain = {(row.model, row.backbone, row.shots): row for row in plain_rows(panel)}
    controlled: dict[tuple[str, str, int | None], dict[str, Row]] = {}
    for row in panel.rows:
        if row.control:
            controlled.setdefault((row.model, row.backbone, row.shots), {})[row.control] = row
    keys = [key for key in plain if key in controlled or plain[key].metrics.unseen_auc]
    keys += [key for key in controlled if key not in plain]
    if not keys:
        return None
    names = list(dict.fromkeys(name for rows in controlled.values() for name in rows))
    rows = [plain.get(key) or next(iter(controlled[key].values())) for key in keys]
    order = {id(row): key for row, key in zip(rows, keys, strict=True)}

    def under(name: str) -> Callable[[Row], Cell]:
        def cell(row: Row) -> Cell:
            known, other = plain.get(order[id(row)]), controlled.get(order[id(row)], {}).get(name)
            return _changed(known.metrics.auc if known else None, other.metrics.auc if other else None)

        return cell

    specs: list[_Spec] = [*_NAME[:3], (Column("As it is", "AUC"), lambda row: _as_it_is(row))]
    specs += [(Column(CONTROL_NAMES.get(name, name), "AUC, change"), under(name)) for name in names]
    specs.append((Column("Unseen titles", "AUC, change"), lambda row: _unseen(row)))
    notes = [panel.unseen_note] if panel.unseen_note else []
    return _table(f"Controls on {panel.title}", priors_first(rows), specs, notes)


def _as_it_is(row: Row) -> Cell:
    return Cell() if row.control else _metric(lambda each: each.metrics.auc)(row)


def _unseen(row: Row) -> Cell:
    return Cell() if row.control else _changed(row.metrics.auc, row.metrics.unseen_auc)


def _changed(before: Measured | None, after: Measured | None) -> Cell:
    old, new = mean(before), mean(after)
    change = "" if old is None or new is None else fixed(new - old, 3, signed=True)
    return Cell(fixed(new, 4), change)


def comparisons_table(panel: Panel) -> Table | None:
    """The paired tests between rows; None where there is none."""
    if not panel.comparisons:
        return None
    columns = (
        Column("Model", numeric=False),
        Column("Compared with", numeric=False),
        Column("Metric", numeric=False),
        Column("Difference"),
        Column("95 % interval"),
        Column("p", "Holm"),
        Column("Differ?", numeric=False),
    )
    rows = tuple(TableRow(_compared(each)) for each in panel.comparisons)
    notes = ("The first model minus the second on the same samples; p-values adjusted for the tests of this table.",)
    return Table(f"Paired comparisons on {panel.title}", columns, rows, notes)


def _compared(each: Comparison) -> tuple[Cell, ...]:
    apart = each.interval is not None and (each.interval[0] > 0 or each.interval[1] < 0)
    told = Cell(UNDEFINED) if each.interval is None else Cell("yes") if apart else Cell("not shown", tone="muted")
    return (
        Cell(each.a),
        Cell(each.b),
        Cell(METRIC_NAMES[each.metric]),
        Cell(fixed(each.difference, 4, signed=True)),
        Cell(interval(each.interval, signed=True)),
        Cell(p_value(each.p_value)),
        told,
    )


def missing_table(missing: Sequence[Missing]) -> Table | None:
    """Jobs without a result; None where all are there."""
    if not missing:
        return None
    columns = tuple(Column(name, numeric=False) for name in ("Job", "Status", "Reason"))
    rows = tuple(
        TableRow((Cell(each.job), Cell(each.status, tone="bad" if each.status == "failed" else ""), Cell(each.reason)))
        for each in missing
    )
    return Table("Jobs without a result", columns, rows)
