"""What `recalign evaluate --index` does: both stages over the full catalogue, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recalign.terminal import printable

if TYPE_CHECKING:
    from recalign.data.samples import SampleSet
    from recalign.evaluation.full_ranking import FullRanking


def rank_and_show(
    models: Sequence[str], data: SampleSet, split: str, index: Path, retrieve: int, *, json_output: bool
) -> None:
    """Retrieve, rank, print."""
    from recalign.cli.progress import SHORT_SECONDS, TerminalReporter
    from recalign.evaluation.retrieve_and_rank import retrieve_and_rank

    with TerminalReporter(after=SHORT_SECONDS) as reporter:
        show = reporter.task("rank", "lists")
        ranking = retrieve_and_rank(
            models, data, index, split, retrieve=retrieve, progress=lambda done, total: show(done, total, "")
        )
    if json_output:
        sys.stdout.write(json.dumps(ranking.as_json()) + "\n")
    else:
        _print(Console(highlight=False), ranking, split)


def _print(console: Console, ranking: FullRanking, split: str) -> None:
    from recalign.evaluation.full_ranking import SAID

    recall = ", ".join(f"{value:.3f} at {cutoff}" for cutoff, value in ranking.recall.items())
    console.print(Text(f"{ranking.targets:,} liked {split} targets among {ranking.items:,} items ({SAID})."))
    console.print(Text(f"Retriever: recall {recall}."))
    console.print(Text(f"Ceiling with {ranking.retrieve} candidates: {ranking.ceiling:.3f} in each metric."))
    accuracy = {stage.name: (stage.ndcg, stage.recall, stage.mrr) for stage in ranking.stages}
    console.print(_table(("NDCG@10", "Recall@10", "MRR"), accuracy))
    beyond = {stage.name: astuple(stage.beyond) for stage in ranking.stages}
    console.print(_table(("Coverage", "Novelty", "Diversity", "Pop. bias"), beyond))
    console.print(Text("The second table is about the first 10 items of each list; novelty is in bits."))


def _table(headings: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("Order of", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, values in rows.items():
        table.add_row(Text(printable(name)), *("–" if value is None else f"{value:.3f}" for value in values))
    return table
