"""The ranking table: NDCG@10, Recall@10 and MRR of models and rivals, with intervals, and who beats the best rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from recalign.errors import DataError
from recalign.experiment.ranking import (
    CAVEAT,
    METRICS,
    Comparison,
    RankingEvaluation,
    against_rivals,
    group_seeds,
    interval_over_seeds,
)
from recalign.experiment.tables import number, p_value, span
from recalign.metrics.ranking import CUTOFF, RankingMetric, random_ranker
from recalign.metrics.significance import RESAMPLES, Interval, MeanSd, mean_sd
from recalign.terminal import printable

HEADER: Final[dict[RankingMetric, str]] = {"ndcg": f"NDCG@{CUTOFF}", "recall": f"Recall@{CUTOFF}", "mrr": "MRR"}


@dataclass(frozen=True)
class RankingRow:
    """One model or rival: mean over seeds and interval of each metric; `beats` says whether it beats the best rival."""

    model: str
    seeds: int
    is_rival: bool
    values: dict[RankingMetric, tuple[MeanSd, Interval | None]]
    beats: bool | None


@dataclass(frozen=True)
class RankingTable:
    """Rows in the order given, what they are about, comparisons with every rival, and lines for below the table.

    `metrics` are those of every evaluation, one per training seed (`RankingEvaluation.metrics`).
    """

    rows: tuple[RankingRow, ...]
    caption: str
    best_rival: str | None
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    metrics: tuple[dict[str, Any], ...]

    def rich(self) -> Table:
        """A table that fits into 80 columns: intervals stand below the figures."""
        caption = Text(printable(self.caption))
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), caption=caption)
        table.caption_justify = "left"
        table.add_column("Model", overflow="fold")
        for name in HEADER.values():
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("Beats best\nrival?", no_wrap=True)
        for row in self.rows:
            cells = [f"{number(mean, 4, ' ')}\n{span(interval, '.3f')}" for mean, interval in row.values.values()]
            style = "dim" if row.is_rival else None
            table.add_row(Text(printable(_label(row))), *cells, _yes_no(row.beats), style=style)
        return table

    def markdown(self) -> str:
        """The same as a Markdown table, with caption and `lines` below."""
        header = ["Model", *(f"{name} [95% CI]" for name in HEADER.values()), "Beats best rival?"]
        lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * len(HEADER) + "---|"]
        for row in self.rows:
            cells = [f"{number(mean, 4, ' ')} [{span(interval, '.3f')}]" for mean, interval in row.values.values()]
            name = printable(_label(row)).replace("|", r"\|")
            lines.append("| " + " | ".join([name, *cells, _yes_no(row.beats)]) + " |")
        return "\n".join([*lines, "", *(f"* {line}" for line in (self.caption, *self.lines()))]) + "\n"

    def lines(self) -> list[str]:
        """What belongs below the table: each comparison in words, then notes."""
        return [*(_sentence(each) for each in self.comparisons), *self.notes]

    def as_json(self) -> dict[str, Any]:
        """All figures, comparisons and notes, JSON-ready."""
        return {
            "metrics": list(self.metrics),
            "best_rival": self.best_rival,
            "against_rivals": [each.as_json() for each in self.comparisons],
            "notes": list(self.notes),
        }


def ranking_table(
    evaluations: Sequence[RankingEvaluation], *, notes: Sequence[str] = (), resamples: int = RESAMPLES, seed: int = 0
) -> RankingTable:
    """Build the table of evaluations on the same candidate lists.

    Args:
        evaluations: Of models and rivals; those of one name are the seeds of one model.
        notes: Lines to print below, e.g. what the priors learned from; the caveat of sampled negatives is added.
        resamples: Bootstrap replicates.
        seed: Seeds the resampling.

    Raises:
        DataError: There is none, or they do not rank the same lists.
    """
    if not evaluations:
        raise DataError("ranking table", found="no evaluations", expected="at least one")
    comparisons = against_rivals(evaluations, resamples=resamples, seed=seed)
    groups = group_seeds(evaluations)
    means = {name: group[0].metrics["ndcg"] for name, group in groups.items() if group[0].is_rival}
    best = max(means, key=lambda name: means[name], default=None)
    beats = {each.model: each.above_zero for each in comparisons if each.rival == best}
    rows = tuple(_row(name, group, beats.get(name), resamples, seed) for name, group in groups.items())
    metrics = tuple(each.metrics for each in evaluations)
    return RankingTable(rows, _caption(metrics[0]), best, tuple(comparisons), (*notes, CAVEAT), metrics)


def _row(name: str, group: Sequence[RankingEvaluation], beats: bool | None, resamples: int, seed: int) -> RankingRow:
    values = {
        metric: (
            mean_sd([each.metrics[metric] for each in group]),
            interval_over_seeds(group, metric, resamples=resamples, seed=seed),
        )
        for metric in METRICS
    }
    return RankingRow(name, len(group), group[0].is_rival, values, beats)


def _caption(metrics: dict[str, Any]) -> str:
    chance = random_ranker(round(metrics["items"]))["ndcg"]
    return (
        f"{metrics['split']}: {metrics['lists']:,} lists of {metrics['users']:,} users, one liked target among "
        f"{metrics['items']:g} items each; a random ranker has NDCG@{CUTOFF} {chance:.4f}. Ties count by expectation. "
        f"Candidates {metrics['candidates'][:12]}."
    )


def _label(row: RankingRow) -> str:
    return row.model if row.seeds == 1 else f"{row.model} ({row.seeds} seeds)"


def _yes_no(beats: bool | None) -> str:
    return "" if beats is None else "yes" if beats else "no"


def _sentence(each: Comparison) -> str:
    text = f"{printable(each.model)} − {each.rival}: NDCG@{CUTOFF} {each.difference:+.4f}"
    if each.interval is None:
        return f"{text}, no interval."
    return f"{text}, 95% paired {span(each.interval, '+.4f')}, p {p_value(each.p_value)} (Holm)."
