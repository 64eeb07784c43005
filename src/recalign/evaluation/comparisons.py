"""Who is better: each row against the best prior, and rows in pairs. All p-values come from here.

Differences are paired and user-clustered (`recalign.metrics.significance`), and several seeds count as their mean.
P-values are adjusted by Holm's method within a family. There are two kinds of families: the verdicts of a panel by one
metric, and the comparisons of a panel. A row beats the best prior if the whole interval of its difference lies above
zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recalign.evaluation.document import DIGITS, Comparison, Row, Verdict
from recalign.evaluation.metric import Metric, deciding
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings, resampled_frames, rounded
from recalign.metrics.significance import PairedDifference, holm, paired_bootstrap


def best_prior(rows: Sequence[Row], metric: str, *, higher_is_better: bool = True) -> Row | None:
    """The prior with the best value of a metric, the first of several; None where no prior has one."""
    sign = 1 if higher_is_better else -1
    known = [
        (sign * value, row)
        for row in rows
        if row.kind == "prior" and not row.control and (value := row.mean(metric)) is not None
    ]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def judge(rows: Sequence[ScoredRow], settings: TestSettings) -> list[ScoredRow]:
    """The rows with their verdicts: by every metric that decides, against the prior that is best by it.

    Raises:
        DataError: Rows were not scored on the same samples.
    """
    verdicts: dict[int, dict[str, Verdict]] = {place: {} for place in range(len(rows))}
    for name, metric in deciding():
        for place, verdict in _verdicts(rows, name, metric, settings).items():
            verdicts[place][name] = verdict
    return [
        ScoredRow(scored.row.model_copy(update={"verdicts": verdicts[place]}), scored.scores)
        for place, scored in enumerate(rows)
    ]


def compare(
    rows: Sequence[ScoredRow], pairs: Sequence[tuple[str, str]], settings: TestSettings
) -> tuple[Comparison, ...]:
    """Paired differences: named models at equal backbone and shots, and controlled rows against their plain ones.

    A prior has neither, so it is compared with every row of the model that it is named with.

    Raises:
        DataError: Rows were not scored on the same samples.
    """
    tests = [
        _Test(left.row, right.row, name, difference)
        for left in rows
        for right in rows
        if _belong_together(left.row, right.row, pairs)
        for name, metric in deciding()
        if (difference := _difference(left.scores, right.scores, metric, settings)) is not None
    ]
    adjusted = _adjusted([test.difference for test in tests])
    return tuple(
        Comparison(
            a=test.left.title,
            b=test.right.title,
            metric=test.metric,
            difference=round(test.difference.difference, DIGITS),
            interval=rounded(test.difference.interval),
            p_value=p_value,
        )
        for test, p_value in zip(tests, adjusted, strict=True)
    )


@dataclass(frozen=True)
class _Test:
    left: Row
    right: Row
    metric: str
    difference: PairedDifference


def _belong_together(left: Row, right: Row, pairs: Sequence[tuple[str, str]]) -> bool:
    shots = left.shots == right.shots or "prior" in (left.kind, right.kind)
    backbone = len({left.backbone, right.backbone} - {""}) < 2  # a baseline has none and is compared with any
    named = not left.control and not right.control and (left.model, right.model) in pairs
    controlled = bool(left.control) and not right.control and left.model == right.model
    return shots and backbone and (named or controlled)


def _verdicts(rows: Sequence[ScoredRow], name: str, metric: Metric, settings: TestSettings) -> dict[int, Verdict]:
    """By the place of the row."""
    best = best_prior([scored.row for scored in rows], name, higher_is_better=metric.higher_is_better)
    if best is None:
        return {}
    prior = next(scored.scores for scored in rows if scored.row is best)
    differences = {
        place: difference
        for place, scored in enumerate(rows)
        if scored.row.kind != "prior"
        and (difference := _difference(scored.scores, prior, metric, settings)) is not None
    }
    adjusted = _adjusted(list(differences.values()))
    return {
        place: Verdict(
            prior=best.model,
            difference=round(difference.difference, DIGITS),
            interval=rounded(difference.interval),
            p_value=p_value,
            beats=difference.above_zero if metric.higher_is_better else difference.below_zero,
        )
        for (place, difference), p_value in zip(differences.items(), adjusted, strict=True)
    }


def _difference(left: RowScores, right: RowScores, metric: Metric, settings: TestSettings) -> PairedDifference | None:
    """None where one of them was not scored so, or the metric is undefined or has no statistic."""
    sides = [resampled_frames(metric, scores, settings) for scores in (left, right)]
    if metric.statistic is None or not all(sides):
        return None
    return paired_bootstrap(metric.statistic, *sides, n_resamples=settings.resamples, seed=settings.seed)


def _adjusted(differences: Sequence[PairedDifference]) -> list[float | None]:
    """Holm-adjusted p-values in the order given; None where a difference has none."""
    places = [place for place, difference in enumerate(differences) if difference.p_value is not None]
    values = holm([difference.p_value for difference in differences if difference.p_value is not None])
    adjusted = dict(zip(places, values, strict=True))
    return [round(adjusted[place], DIGITS) if place in adjusted else None for place in range(len(differences))]
