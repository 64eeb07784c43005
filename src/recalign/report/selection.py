"""Which rows a figure shows: looked up in a panel by model, backbone, shots and control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recalign.evaluation.document import Panel, Row
from recalign.experiment.results import Figure


def of_models(panel: Panel, models: Sequence[str]) -> list[Row]:
    """The panel's plain rows of these models, in the order of `models`."""
    return [row for model in models for row in panel.plain_rows if row.model == model]


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
        if row.mean(figure.metric) is not None:
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
        before = chosen.get((row.model, row.backbone))
        if before is None or (row.shots or 0) > (before.shots or 0):
            chosen[row.model, row.backbone] = row
    return list(chosen.values())
