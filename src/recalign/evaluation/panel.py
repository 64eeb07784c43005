"""A panel from rows with scores: metrics, verdicts, comparisons. Where the scores come from is not known here.

All p-values come from here. Differences are paired and user-clustered (`recalign.metrics.significance`), and several
seeds count as their mean. P-values are adjusted by Holm's method within a family. There are two kinds of families: the
verdicts of a panel by one metric, and the comparisons of a panel. A row beats the best prior if the whole interval of
its difference lies above zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from itertools import count
from typing import TypedDict

import polars as pl

from recalign.data.samples import SampleSet
from recalign.errors import DataError
from recalign.evaluation.document import (
    BESIDE,
    DIGITS,
    Comparison,
    Difference,
    Learned,
    Panel,
    PanelFacts,
    Row,
    Verdict,
)
from recalign.evaluation.metric import Metric, comparing, deciding
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings, measure_row, resampled_frames, rounded
from recalign.metrics.significance import PairedDifference, holm, paired_bootstrap


class SampleCounts(TypedDict):
    """Number of samples and users, and the share of liked samples in [0, 1]."""

    n: int
    n_users: int
    positive_share: float


def sample_counts(frame: pl.DataFrame) -> SampleCounts:
    """Counts of samples with `user_id` and `label`.

    Raises:
        DataError: There are none.
    """
    if frame.is_empty():
        raise DataError("samples to evaluate", found="none", expected="at least one")
    share = float(frame["label"].cast(pl.Float64).to_numpy().mean())
    return {"n": frame.height, "n_users": frame["user_id"].n_unique(), "positive_share": share}


def facts_of(data: SampleSet, split: str, frame: pl.DataFrame, learned: Learned) -> PanelFacts:
    """What a panel of one data set is about: the samples in `frame`, and what its priors learned from."""
    name, counts = data.path.name, sample_counts(frame)
    fingerprints = (data.fingerprint,)
    return PanelFacts(
        name=name, title=name, data=name, split=split, fingerprints=fingerprints, learned=learned, **counts
    )


def build_panel(
    facts: PanelFacts,
    rows: Sequence[ScoredRow],
    settings: TestSettings,
    pairs: Sequence[tuple[str, str]] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Panel:
    """Measure all rows, hold them against the best prior, and compare them in pairs.

    `pairs` names models to compare. Controlled rows are compared with their plain ones in any case. `progress` hears
    how many rows are measured and pairs tested, of how many.

    Raises:
        DataError: Rows were not scored on the same samples or candidate lists, or scores are not finite.
    """
    lists = {scored.scores.lists for scored in rows if scored.scores.lists}
    if len(lists) > 1:
        found = f"{len(lists)} sets of candidate lists"
        raise DataError("rankings to compare", found=found, expected="one that all models rank")
    models = sum(scored.row.kind not in BESIDE for scored in rows)
    total = len(rows) + models * len(deciding()) + len(_pairs(rows, pairs)) * len(comparing())
    done = count(1)

    def tell() -> None:
        progress(next(done), total)

    measured = []
    for scored in rows:
        measured.append(replace(scored, row=measure_row(scored.row, scored.scores, settings)))
        tell()
    judged = judge(measured, settings, tell)
    comparisons = compare(judged, pairs, settings, tell=tell)
    progress(total, total)
    return Panel(**dict(facts), rows=tuple(scored.row for scored in judged), comparisons=comparisons)


def best_prior(rows: Sequence[Row], metric: str, *, higher_is_better: bool = True) -> Row | None:
    """The prior with the best value of a metric, the first of several; None where no prior has one."""
    sign = 1 if higher_is_better else -1
    known = [
        (sign * value, row)
        for row in rows
        if row.kind == "prior" and not row.control and (value := row.mean(metric)) is not None
    ]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def judge(
    rows: Sequence[ScoredRow], settings: TestSettings, tell: Callable[[], None] = lambda: None
) -> list[ScoredRow]:
    """The rows with their verdicts: by every metric that decides, against the prior that is best by it.

    `tell` is called after each test.
    """
    judged = list(rows)
    for name, metric in deciding():
        for place, verdict in _verdicts(rows, name, metric, settings, tell).items():
            row = judged[place].row
            judged[place] = replace(
                rows[place], row=row.model_copy(update={"verdicts": {**row.verdicts, name: verdict}})
            )
    return judged


def compare(
    rows: Sequence[ScoredRow],
    pairs: Sequence[tuple[str, str]],
    settings: TestSettings,
    metrics: Sequence[tuple[str, Metric]] | None = None,
    tell: Callable[[], None] = lambda: None,
) -> tuple[Comparison, ...]:
    """Paired differences: named models at equal backbone and shots, controlled rows against their plain ones, and a
    model on one backbone against itself on a later one.

    A second model that has no row with as many shots is compared without any.

    A prior or reference has neither, so it is compared with every row of the model that it is named with. `metrics`
    are those that decide or compare, unless others are named. `tell` is called after each test.
    """
    tests = [
        (left.row.title, right.row.title, name, difference)
        for left, right in _pairs(rows, pairs)
        for name, metric in (comparing() if metrics is None else metrics)
        if (difference := _difference(left.scores, right.scores, metric, settings, tell)) is not None
    ]
    adjusted = _adjusted([difference for *_, difference in tests])
    return tuple(
        Comparison(a=left, b=right, metric=name, **dict(difference))
        for (left, right, name, _), difference in zip(tests, adjusted, strict=True)
    )


def _pairs(rows: Sequence[ScoredRow], named: Sequence[tuple[str, str]]) -> list[tuple[ScoredRow, ScoredRow]]:
    """The rows that are compared with each other."""
    shown = {(scored.row.model, scored.row.shots) for scored in rows}
    return [
        (left, right)
        for place, left in enumerate(rows)
        for other, right in enumerate(rows)
        if _belong_together(left.row, right.row, named, shown)
        or (place < other and _on_other_backbones(left.row, right.row))
    ]


def _belong_together(
    left: Row, right: Row, pairs: Sequence[tuple[str, str]], shown: Set[tuple[str, int | None]]
) -> bool:
    shots = left.shots == right.shots or left.kind in BESIDE or right.kind in BESIDE
    shots = shots or (right.shots is None and (right.model, left.shots) not in shown)
    backbone = len({left.backbone, right.backbone} - {""}) < 2  # a baseline has none and is compared with any
    named = not left.control and not right.control and (left.model, right.model) in pairs
    controlled = bool(left.control) and not right.control and left.model == right.model
    return shots and backbone and (named or controlled)


def _on_other_backbones(left: Row, right: Row) -> bool:
    alike = (left.model, left.kind, left.shots, left.control) == (right.model, right.kind, right.shots, right.control)
    return alike and not left.control and left.backbone != right.backbone


def _verdicts(
    rows: Sequence[ScoredRow], name: str, metric: Metric, settings: TestSettings, tell: Callable[[], None]
) -> dict[int, Verdict]:
    """By the place of the row."""
    best = best_prior([scored.row for scored in rows], name, higher_is_better=metric.higher_is_better)
    if best is None:
        return {}
    prior = next(scored.scores for scored in rows if scored.row is best)
    differences = {
        place: difference
        for place, scored in enumerate(rows)
        if scored.row.kind not in BESIDE
        and (difference := _difference(scored.scores, prior, metric, settings, tell)) is not None
    }
    beats = [each.above_zero if metric.higher_is_better else each.below_zero for each in differences.values()]
    adjusted = _adjusted(list(differences.values()))
    return {
        place: Verdict(prior=best.model, beats=better, **dict(difference))
        for place, better, difference in zip(differences, beats, adjusted, strict=True)
    }


def _difference(
    left: RowScores, right: RowScores, metric: Metric, settings: TestSettings, tell: Callable[[], None]
) -> PairedDifference | None:
    """None where one of them was not scored so, or the metric is undefined or has no statistic."""
    sides = [resampled_frames(metric, scores, settings) for scores in (left, right)]
    difference = None
    if metric.statistic is not None and all(sides):
        difference = paired_bootstrap(metric.statistic, *sides, n_resamples=settings.resamples, seed=settings.seed)
    tell()
    return difference


def _adjusted(differences: Sequence[PairedDifference]) -> list[Difference]:
    """The differences of one family as a document has them, with Holm-adjusted p-values, in the order given."""
    adjusted = iter(holm([difference.p_value for difference in differences if difference.p_value is not None]))
    return [
        Difference(
            difference=round(difference.difference, DIGITS),
            interval=rounded(difference.interval),
            p_value=None if difference.p_value is None else round(next(adjusted), DIGITS),
        )
        for difference in differences
    ]
