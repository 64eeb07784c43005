"""Which rows a figure shows: looked up in a panel by model, backbone, shots and control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recalign.experiment.study import Figure, Measured, Panel, Row
from recalign.report.formats import mean


def plain_rows(panel: Panel) -> list[Row]:
    """The rows without a control."""
    return [row for row in panel.rows if not row.control]


def metric(row: Row, name: str) -> Measured | None:
    """A metric of a row by its name; None where it is undefined or not finite."""
    measured: Measured | None = getattr(row.metrics, name)
    return None if mean(measured) is None else measured


def best_prior(panel: Panel, name: str) -> tuple[Row, float] | None:
    """The prior with the highest value of a metric, and that value; None where no prior has one."""
    found = [
        (row, value) for row in plain_rows(panel) if row.kind == "prior" and (value := _value(row, name)) is not None
    ]
    return max(found, key=lambda pair: pair[1], default=None)


def _value(row: Row, name: str) -> float | None:
    return mean(getattr(row.metrics, name))


def several_backbones(rows: Iterable[Row]) -> bool:
    """Whether the backbone tells rows apart."""
    return len({row.backbone for row in rows if row.backbone}) > 1


def of_models(panel: Panel, models: Sequence[str]) -> list[Row]:
    """The panel's plain rows of these models, in the order of `models`."""
    return [row for model in models for row in plain_rows(panel) if row.model == model]


def bar_rows(panel: Panel, figure: Figure) -> list[Row]:
    """The rows of a figure of kind ``bars``: its models at its K. Priors have no K and are shown whatever it is."""
    rows = of_models(panel, figure.models)
    return [row for row in rows if row.kind == "prior" or row.shots == figure.shots]


@dataclass(frozen=True)
class Line:
    """A model in a figure of kind ``shots``: its rows with K, ascending, and its row without, if any."""

    model: str
    backbone: str
    points: tuple[Row, ...]
    level: Row | None


def shot_lines(panel: Panel, figure: Figure) -> list[Line]:
    """The lines of a figure of kind ``shots``: one per model and backbone that has a value anywhere."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in of_models(panel, figure.models):
        if metric(row, figure.metric) is not None:
            groups.setdefault((row.model, row.backbone), []).append(row)
    lines = []
    for (model, backbone), rows in groups.items():
        points = sorted((row for row in rows if row.shots), key=lambda row: row.shots or 0)
        level = next((row for row in rows if not row.shots), None)
        lines.append(Line(model, backbone, tuple(points), level))
    return lines


def most_shots(rows: Iterable[Row]) -> list[Row]:
    """One row per model and backbone: that with the most shots (where none has a K, the first), in order."""
    chosen: dict[tuple[str, str], Row] = {}
    for row in rows:
        known = chosen.get((row.model, row.backbone))
        if known is None or (row.shots or 0) > (known.shots or 0):
            chosen[row.model, row.backbone] = row
    return list(chosen.values())
