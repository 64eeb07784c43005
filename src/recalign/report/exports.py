"""The numbers of a report as CSV, unrounded: every row with every metric, and the data behind the figures.

Text that a spreadsheet would take for a formula (names and reasons come from strangers) gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from recalign.experiment.study import Measured, Metrics, Panel, Row, Study, Verdict
from recalign.report.formats import slugs
from recalign.terminal import printable

Value = str | int | float | bool | None

_KEY: Final = ("model", "kind", "backbone", "shots", "control")
_PARTS: Final = ("mean", "sd", "ci_low", "ci_high", "n")
_VERDICT: Final = ("prior", "difference", "low", "high", "p_value", "beats")
_METRICS: Final = tuple(Metrics.model_fields)


def csv_tables(study: Study) -> dict[str, bytes]:
    """All tables by file name; those without a row are left out."""
    found: dict[str, bytes] = {}
    for name, panel in zip(panel_slugs(study), study.panels, strict=True):
        found |= {f"{name}-{kind}.csv": table for kind, table in _panel(panel).items()}
    audit = [
        (data, each.check, each.severity, each.text) for data, findings in study.audit.items() for each in findings
    ]
    missing = [(each.job, each.status, each.reason) for each in study.missing]
    found["audit.csv"] = _csv(("data", "check", "severity", "text"), audit)
    found["missing.csv"] = _csv(("job", "status", "reason"), missing)
    return {name: table for name, table in found.items() if table}


def panel_slugs(study: Study) -> list[str]:
    """A name for each panel's files."""
    return slugs([panel.name for panel in study.panels])


def _panel(panel: Panel) -> dict[str, bytes]:
    header = [*_KEY, "seeds", "status", "reason"]
    header += [f"{metric}_{part}" for metric in _METRICS for part in _PARTS]
    header += ["published_auc", "published_ndcg", *(f"verdict_{part}" for part in _VERDICT)]
    header += [*(f"ranking_verdict_{part}" for part in _VERDICT), "refused"]
    compared = [
        (each.a, each.b, each.metric, each.difference, *(each.interval or (None, None)), each.p_value)
        for each in panel.comparisons
    ]
    return {
        "results": _csv(header, (_result(row) for row in panel.rows)),
        "comparisons": _csv(("a", "b", "metric", "difference", "low", "high", "p_value"), compared),
        "reliability": _csv(
            (*_KEY, "predicted", "observed", "count"),
            ((*_key(row), each.predicted, each.observed, each.count) for row in panel.rows for each in row.reliability),
        ),
        "users": _csv((*_KEY, "auc"), ((*_key(row), value) for row in panel.rows for value in row.user_auc)),
        "training": _csv((*_KEY, "seed", "stage", "step", "loss", "validation"), _training(panel)),
    }


def _key(row: Row) -> tuple[Value, ...]:
    return row.model, row.kind, row.backbone, row.shots, row.control


def _result(row: Row) -> list[Value]:
    values: list[Value] = [*_key(row), " ".join(map(str, row.seeds)), row.status, row.reason]
    for metric in _METRICS:
        values += _measured(getattr(row.metrics, metric))
    values += [row.published.get("auc"), row.published.get("ndcg")]
    return [*values, *_verdict(row.verdict), *_verdict(row.ranking_verdict), row.refused]


def _measured(measured: Measured | None) -> tuple[Value, ...]:
    if measured is None:
        return (None,) * len(_PARTS)
    return (measured.mean, measured.sd, *(measured.ci or (None, None)), measured.n)


def _verdict(verdict: Verdict | None) -> tuple[Value, ...]:
    if verdict is None:
        return (None,) * len(_VERDICT)
    return verdict.prior, verdict.difference, *(verdict.interval or (None, None)), verdict.p_value, verdict.beats


def _training(panel: Panel) -> Iterator[tuple[Value, ...]]:
    for row in panel.rows:
        for curve in row.training:
            for point in curve.points:
                yield *_key(row), curve.seed, curve.stage, point.step, point.loss, point.validation


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
