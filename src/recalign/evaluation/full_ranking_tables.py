"""The tables of a full ranking as plain cells: what stage one finds, what each order gets, and how they differ."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.evaluation.cells import Cell, Column, Table, TableRow, fixed, interval, plural
from recalign.evaluation.document import Estimate
from recalign.evaluation.full_ranking import SHOWN, FullRanking
from recalign.evaluation.metric import METRICS
from recalign.evaluation.tables import compared_table

_DIGITS = 3


def full_ranking_tables(ranking: FullRanking, split: str) -> list[Table]:
    """All tables of a full ranking; comparisons only where something was ranked."""
    tables = [_stage_one(ranking, split), _orders(ranking)]
    if ranking.comparisons:
        tables.append(compared_table(ranking.comparisons, "Ranking minus retrieval", details=False))
    return [*tables, _beyond(ranking)]


def _stage_one(ranking: FullRanking, split: str) -> Table:
    shares = {f"Recall@{cutoff}": estimate for cutoff, estimate in ranking.recall.items()} | {
        "Ceiling": ranking.ceiling
    }
    notes = (
        f"{ranking.targets:,} liked {split} targets of {plural(ranking.users, 'user')} among {ranking.items:,} items "
        f"({ranking.candidates}).",
        f"The ceiling is what a perfect ranking of {ranking.retrieve:,} candidates gets in each metric. Intervals "
        "resample users.",
    )
    row = TableRow((Cell(ranking.stages[0].name), *_estimates(list(shares.values()))))
    return Table("What is retrieved", _columns("Stage one", list(shares)), (row,), notes)


def _orders(ranking: FullRanking) -> Table:
    names = list(ranking.stages[0].metrics)
    rows = tuple(
        TableRow((Cell(stage.name), *_estimates([stage.metrics.get(name) for name in names])))
        for stage in ranking.stages
    )
    columns = _columns("Order of", [METRICS.find(name).heading for name in names])
    return Table("How it is ordered", columns, rows, ("A target that was not retrieved counts 0.",))


def _beyond(ranking: FullRanking) -> Table:
    headings = ("Coverage", "Novelty", "Diversity", "Pop. bias")
    columns = (Column("Order of", numeric=False), *(Column(heading) for heading in headings))
    rows = []
    for stage in ranking.stages:
        beyond = stage.beyond
        values = (beyond.coverage, beyond.novelty, beyond.diversity, beyond.popularity_bias)
        rows.append(TableRow((Cell(stage.name), *(Cell(fixed(value, _DIGITS)) for value in values))))
    return Table(f"The first {SHOWN} items of each list", columns, tuple(rows), ("Novelty is in bits.",))


def _columns(first: str, headings: Sequence[str]) -> tuple[Column, ...]:
    """A column per heading with its interval below."""
    pairs = [(Column(heading), Column("95 % interval", terminal="below")) for heading in headings]
    return (Column(first, numeric=False), *(column for pair in pairs for column in pair))


def _estimates(estimates: Sequence[Estimate | None]) -> list[Cell]:
    """Mean and interval of each."""
    cells = []
    for estimate in estimates:
        cells.append(Cell(fixed(estimate.mean if estimate else None, _DIGITS)))
        cells.append(Cell(interval(estimate.ci if estimate else None)))
    return cells
