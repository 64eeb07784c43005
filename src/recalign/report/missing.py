"""The table of jobs without a result."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.evaluation.cells import Cell, Column, Table, TableRow
from recalign.experiment.results import Missing


def missing_table(missing: Sequence[Missing]) -> Table | None:
    """Jobs without a result; None where all are there."""
    if not missing:
        return None
    columns = tuple(Column(name, numeric=False) for name in ("Job", "Status", "Reason"))
    rows = tuple(
        TableRow((Cell(job.job), Cell(job.status, tone="bad" if job.status == "failed" else ""), Cell(job.reason)))
        for job in missing
    )
    return Table("Jobs without a result", columns, rows)
