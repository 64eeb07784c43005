"""The numbers of a report, or of a full ranking, as CSV: every row with every metric, and the data of the figures.

Text that a spreadsheet would take for a formula (names and reasons come from strangers) gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from typing import Final

from recalign.evaluation.document import Comparison, Estimate, Panel, Verdict
from recalign.evaluation.full_ranking import FullRanking
from recalign.evaluation.metric import deciding, ordered_metrics
from recalign.experiment.results import Results
from recalign.metrics.beyond_accuracy import Beyond
from recalign.terminal import printable

Value = str | int | float | bool | None

_KEY: Final = ("model", "kind", "backbone", "shots", "control")
_PARTS: Final = ("mean", "sd", "ci_low", "ci_high", "n")
_VERDICT: Final = ("prior", "difference", "low", "high", "p_value", "beats")


def csv_tables(results: Results) -> dict[str, bytes]:
    """All tables by file name; those without a row are left out."""
    tables: dict[str, bytes] = {}
    for name, panel in zip(panel_slugs(results), results.panels, strict=True):
        tables |= {f"{name}-{kind}.csv": table for kind, table in _panel(panel).items()}
    audit = [
        (data, finding.check, finding.severity, finding.text)
        for data, findings in results.audit.items()
        for finding in findings
    ]
    missing = [(job.job, job.status, job.reason) for job in results.missing]
    tables["audit.csv"] = _csv(("data", "check", "severity", "text"), audit)
    tables["missing.csv"] = _csv(("job", "status", "reason"), missing)
    return {name: table for name, table in tables.items() if table}


def full_ranking_csv(ranking: FullRanking) -> dict[str, bytes]:
    """The tables of a full ranking by file name; comparisons only where something was ranked."""
    shares = {f"recall_at_{cutoff}": estimate for cutoff, estimate in ranking.recall.items()}
    found = [(name, *_estimate(estimate)) for name, estimate in (*shares.items(), ("ceiling", ranking.ceiling))]
    metrics, beyond = list(ranking.stages[0].metrics), [field.name for field in fields(Beyond)]
    stages = [
        (stage.name, *(value for name in metrics for value in _estimate(stage.metrics[name])), *astuple(stage.beyond))
        for stage in ranking.stages
    ]
    header = ("stage", *(f"{name}_{part}" for name in metrics for part in _PARTS), *beyond)
    tables = {
        "retrieved.csv": _csv(("share", *_PARTS), found),
        "stages.csv": _csv(header, stages),
        "comparisons.csv": _comparisons(ranking.comparisons),
    }
    return {name: table for name, table in tables.items() if table}


def panel_slugs(results: Results) -> list[str]:
    """A name for each panel's files."""
    return slugs([panel.name for panel in results.panels])


def slugs(texts: list[str]) -> list[str]:
    """A part of a file name for each text, all different: a name that is taken gets a number.

    Each has lower-case letters, digits and single hyphens, at least one and at most 60 (and a number).
    """
    names: list[str] = []
    for text in texts:
        base = re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-") or "unnamed"
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def _panel(panel: Panel) -> dict[str, bytes]:
    keyed = [((row.model, row.kind, row.backbone, row.shots, row.control), row) for row in panel.rows]
    bins = [(*key, point.predicted, point.observed, point.count) for key, row in keyed for point in row.reliability]
    users = [(*key, value) for key, row in keyed for value in row.user_auc]
    training = [
        (*key, curve.seed, curve.stage, point.step, point.loss, point.validation)
        for key, row in keyed
        for curve in row.training
        for point in curve.points
    ]
    return {
        "results": _results(panel),
        "comparisons": _comparisons(panel.comparisons),
        "reliability": _csv((*_KEY, "predicted", "observed", "count"), bins),
        "users": _csv((*_KEY, "auc"), users),
        "training": _csv((*_KEY, "seed", "stage", "step", "loss", "validation"), training),
    }


def _comparisons(comparisons: Sequence[Comparison]) -> bytes:
    lines = [
        (test.a, test.b, test.metric, test.difference, *(test.interval or (None, None)), test.p_value)
        for test in comparisons
    ]
    return _csv(("a", "b", "metric", "difference", "low", "high", "p_value"), lines)


def _results(panel: Panel) -> bytes:
    """Every row with every metric."""
    metrics = [name for name, _ in ordered_metrics()]
    metrics += sorted({name for row in panel.rows for name in row.metrics} - set(metrics))
    decisive = [name for name, _ in deciding()]
    header = [*_KEY, "seeds", "status", "reason"]
    header += [f"{metric}_{part}" for metric in metrics for part in _PARTS]
    header += [f"published_{metric}" for metric in decisive]
    header += [f"verdict_{metric}_{part}" for metric in decisive for part in _VERDICT]
    lines = []
    for row in panel.rows:
        values: list[Value] = [row.model, row.kind, row.backbone, row.shots, row.control]
        values += [" ".join(map(str, row.seeds)), row.status, row.reason]
        for metric in metrics:
            values += _estimate(row.metrics.get(metric))
        values += [row.published.get(metric) for metric in decisive]
        for metric in decisive:
            values += _verdict(row.verdicts.get(metric))
        lines.append(values)
    return _csv(header, lines)


def _estimate(estimate: Estimate | None) -> tuple[Value, ...]:
    if estimate is None or estimate.mean is None:
        return (None,) * len(_PARTS)
    return (estimate.mean, estimate.sd, *(estimate.ci or (None, None)), estimate.n)


def _verdict(verdict: Verdict | None) -> tuple[Value, ...]:
    if verdict is None:
        return (None,) * len(_VERDICT)
    return verdict.prior, verdict.difference, *(verdict.interval or (None, None)), verdict.p_value, verdict.beats


def _csv(header: Sequence[str], rows: Iterable[Iterable[Value]]) -> bytes:
    """The table as UTF-8 text, empty where it has no row. Floats are written so that they read back as they were."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    lines = [[_field(value) for value in row] for row in rows]
    writer.writerows(lines)
    return stream.getvalue().encode() if lines else b""


def _field(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = printable(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return repr(value)
