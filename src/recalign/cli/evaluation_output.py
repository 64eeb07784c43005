"""What `recalign evaluate` prints: tables with remarks for people, or one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recalign.experiment.evaluation import Evaluation
    from recalign.experiment.ranking_tables import RankingTable
    from recalign.experiment.tables import ResultsTable, Row


def as_json(evaluations: list[Evaluation], beside: list[Evaluation], table: ResultsTable) -> dict[str, Any]:
    """One model: its metrics at the top; several: a list ``models`` of the same."""
    each = [
        {**evaluation.metrics, "data": evaluation.scores.data, "best_prior": _verdict(row)}
        for evaluation, row in zip(evaluations, table.rows, strict=False)  # priors follow
    ]
    top: dict[str, Any] = each[0] if len(each) == 1 else {"models": each}
    return {**top, "priors": {prior.model: prior.metrics for prior in beside}, "priors_note": table.notes[0]}


def _verdict(row: Row) -> dict[str, Any] | None:
    verdict = row.verdict
    if verdict is None:
        return None
    return {
        "prior": verdict.prior,
        "auc_difference": verdict.difference,
        "interval": [verdict.interval.low, verdict.interval.high] if verdict.interval else None,
        "p_value": verdict.p_value,
        "beats": verdict.beats,
    }


def show(table: ResultsTable, evaluations: list[Evaluation], ranking: RankingTable | None) -> None:
    """Print the table of results, remarks on its models, and the ranking table where there is one."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(table.rich())
    lines = table.lines()
    for each in evaluations:
        lines += _remarks(each)
    for line in lines:
        console.print(Text(line))
    if ranking is not None:
        console.print()
        console.print(ranking.rich())
        for line in ranking.lines():
            console.print(Text(line))


def _remarks(main: Evaluation) -> list[str]:
    """What the table has no column for: calibration, answer mass, and why a figure is missing."""
    from recalign.terminal import printable

    lines = []
    name = printable(main.model)
    temperature, mass = main.metrics["temperature"], main.metrics.get("label_mass")
    if temperature is not None:
        calibrated = f"LogLoss {main.metrics['logloss_calibrated']:.3f}, ECE {main.metrics['ece_calibrated']:.3f}"
        lines.append(f"{name}: with temperature {temperature:.3f} fitted on validation {calibrated}.")
    if mass is not None:
        lines.append(f"{name}: probability of the two answers together {mass:.3f} on average.")
    missing: dict[str, list[str]] = {}
    for metric, reason in main.metrics["reasons"].items():
        missing.setdefault(reason, []).append(metric)
    return lines + [f"{name}: no {', '.join(metrics)}, because {reason}." for reason, metrics in missing.items()]
