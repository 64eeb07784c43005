"""What `recalign evaluate --index` does: both stages over the full catalogue, as tables or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recalign.data.samples import SampleSet
    from recalign.evaluation.rows import TestSettings
    from recalign.models.config import Precision


def rank_and_show(
    models: Sequence[str],
    data: SampleSet,
    split: str,
    index: Path,
    retrieve: int,
    settings: TestSettings,
    output: Path | None,
    *,
    precision: Precision,
    endpoint: str | None,
    json_output: bool,
) -> None:
    """Retrieve, rank, print; with `output` also write CSV files into that folder."""
    from rich.console import Console

    from recalign.artifacts.storage import write_file_atomic
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.evaluation.full_ranking_tables import full_ranking_tables
    from recalign.evaluation.render import print_tables
    from recalign.evaluation.retrieve_and_rank import retrieve_and_rank
    from recalign.report.exports import full_ranking_csv

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        show = reporter.task("rank", "lists")
        ranking = retrieve_and_rank(
            models, data, index, split, retrieve=retrieve, settings=settings, precision=precision, endpoint=endpoint,
            progress=lambda done, total: show(done, total, ""),
        )  # fmt: skip
    if output is not None:
        for name, table in full_ranking_csv(ranking).items():
            write_file_atomic(output / name, table)
    if json_output:
        sys.stdout.write(ranking.model_dump_json() + "\n")
    else:
        print_tables(Console(highlight=False), full_ranking_tables(ranking, split))
