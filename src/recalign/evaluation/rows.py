"""From the scores of a row to its metrics: every metric over all seeds, with its interval, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from recalign.data.schema import LABEL_MASS, SCORES
from recalign.errors import DataError
from recalign.evaluation.document import DIGITS, Bin, Ends, Estimate, Row
from recalign.evaluation.metric import Metric, Observed, ordered_metrics
from recalign.evaluation.score import NO_LOG_ODDS
from recalign.evaluation.score_file import ScoreFile
from recalign.metrics.classification import grouped_auc, index_users, probability, reliability
from recalign.metrics.ranking import candidate_values
from recalign.metrics.significance import ORDER, RESAMPLES, Interval, bootstrap_ci, mean_sd, order_of


@dataclass(frozen=True)
class RowScores:
    """Scores of a row, per training seed and order seed of its data.

    Attributes:
        samples: Frames with a row per sample (`metric.Observed`); empty where not scored.
        candidates: Frames with a row per list (`candidate_values`); empty where none were ranked.
        lists: Fingerprints of the candidate lists, one per order seed and fold.
        no_temperature: Why there is no temperature; "" where there is one.
    """

    samples: tuple[pl.DataFrame, ...] = ()
    candidates: tuple[pl.DataFrame, ...] = ()
    log_odds: bool = False
    lists: tuple[str, ...] = ()
    no_temperature: str = ""

    @classmethod
    def of(
        cls,
        samples: Sequence[Sequence[ScoreFile]],
        candidates: Sequence[Sequence[ScoreFile]] = (),
        orders: Sequence[int] = (),
    ) -> RowScores:
        """From score files: per training seed those of all parts of the data.

        `orders` has the order seed of each part. Parts of one order seed are folds, and pooled; so are all without it.

        Raises:
            DataError: A file of candidates has a row per sample, or broken lists (`candidate_values`).
        """

        def with_temperature(file: ScoreFile) -> pl.DataFrame:
            columns = [name for name in file.frame.columns if name in SCORES or name == LABEL_MASS]
            return file.frame.select(*columns, pl.lit(file.temperature.value, pl.Float64).alias("temperature"))

        files = [file for parts in samples for file in parts]
        if any(not file.candidates for parts in candidates for file in parts):
            raise DataError("score file", found="a row per sample", expected="a row per ranking candidate")
        pooled = [_pooled([with_temperature(file) for file in parts], orders) for parts in samples]
        lists = [_pooled([candidate_values(file.frame) for file in parts], orders) for parts in candidates]
        return cls(
            samples=tuple(frame for frames in pooled for frame in frames),
            candidates=tuple(frame for frames in lists for frame in frames),
            log_odds=bool(files) and all(file.log_odds for file in files),
            lists=tuple(file.candidates for file in candidates[0]) if candidates else (),
            no_temperature=next((file.temperature.reason for file in files if file.temperature.value is None), ""),
        )


def _pooled(parts: Sequence[pl.DataFrame], orders: Sequence[int]) -> list[pl.DataFrame]:
    """One frame per order seed, with column `ORDER`: the rows of its folds."""
    folds: dict[int, list[pl.DataFrame]] = {}
    for order, part in zip(orders or [0] * len(parts), parts, strict=True):
        folds.setdefault(order, []).append(part.with_columns(pl.lit(order, pl.Int64).alias(ORDER)))
    return [pl.concat(frames, how="diagonal") for frames in folds.values()]


@dataclass(frozen=True)
class TestSettings:
    """How rows are tested: `resamples` bootstrap replicates of users, at least 1, and their seed.

    `subsets` has sample ids by the name of the subset (`Metric.subset`) that is measured apart.
    """

    __test__ = False  # no class of tests, whatever its name

    resamples: int = RESAMPLES
    seed: int = 0
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredRow:
    """A row with its scores."""

    row: Row
    scores: RowScores


def measure_row(row: Row, scores: RowScores, settings: TestSettings) -> Row:
    """The row with its metrics, reliability and AUCs of users; as it is where there are no scores.

    Raises:
        DataError: Scores are not finite, or the seeds were scored on different samples of one order.
    """
    estimates = {name: _estimate(metric, scores, settings) for name, metric in ordered_metrics()}
    metrics = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    return row.model_copy(
        update={"metrics": metrics, "reliability": _bins(scores), "user_auc": _user_aucs(scores.samples)}
    )


def resampled_frames(metric: Metric, scores: RowScores, settings: TestSettings) -> list[pl.DataFrame]:
    """What the metric's statistic resamples, one frame per seed and order; empty where the metric does not apply.

    A seed for which the metric is undefined has a frame on which its statistic is undefined, too.
    """
    observed = _observed(metric, scores, settings)
    if metric.statistic != "mean":
        return [scored.frame for scored in observed]
    values = [(metric.value(scored), order_of(scored.frame)) for scored in observed]
    return [
        value.lists.with_columns(pl.lit(order, pl.Int64).alias(ORDER))
        for value, order in values
        if value is not None and value.lists is not None
    ]


def rounded(interval: Interval | None) -> Ends | None:
    """Both ends of an interval as a document has them."""
    return None if interval is None else (round(interval.low, DIGITS), round(interval.high, DIGITS))


def _observed(metric: Metric, scores: RowScores, settings: TestSettings) -> list[Observed]:
    """What the metric reads, per seed and order; empty where it does not apply."""
    frames = scores.samples if metric.over == "samples" else scores.candidates
    if metric.subset:
        ids = settings.subsets.get(metric.subset)
        if not ids:
            return []
        frames = tuple(frame.filter(pl.col("sample_id").is_in(list(ids))) for frame in frames)
    return [Observed(frame, scores.no_temperature) for frame in frames]


def _estimate(metric: Metric, scores: RowScores, settings: TestSettings) -> Estimate | None:
    """The metric over the seeds and orders; None where it does not apply to these scores."""
    observed = _observed(metric, scores, settings)
    if not observed:
        return None
    if metric.needs_log_odds and not scores.log_odds:
        return Estimate(n=len(observed), reason=NO_LOG_ODDS)
    values = [value for seed in observed if (value := metric.value(seed)) is not None]
    if len(values) < len(observed):
        return None
    counts = dict(values[0].counts)
    known = [value.value for value in values if value.value is not None]
    if len(known) < len(values):
        reason = next(value.reason for value in values if value.value is None)
        return Estimate(n=len(values), reason=reason or "undefined", counts=counts)
    mean, sd = mean_sd(known)
    interval, reason = None, ""
    if metric.statistic is not None:
        frames = resampled_frames(metric, scores, settings)
        interval = bootstrap_ci(metric.statistic, frames, n_resamples=settings.resamples, seed=settings.seed)
        users = observed[0].frame["user_id"].n_unique()
        why = "fewer than two users" if users < 2 else "most resamples are undefined"
        reason = why if interval is None else ""
    return Estimate(
        mean=round(mean, DIGITS),
        sd=None if sd is None else round(sd, DIGITS),
        ci=rounded(interval),
        n=len(known),
        reason=reason,
        counts=counts,
    )


def _bins(scores: RowScores) -> tuple[Bin, ...]:
    if not scores.samples or not scores.log_odds:
        return ()
    pooled = pl.concat([frame.select("label", "score") for frame in scores.samples])
    bins = reliability(pooled["label"].to_numpy(), probability(pooled["score"].to_numpy()))
    return tuple(Bin(predicted=round(mean, 4), observed=round(share, 4), count=count) for mean, share, count in bins)


def _user_aucs(frames: Sequence[pl.DataFrame]) -> tuple[float, ...]:
    """AUC within each user who has both labels, averaged over seeds and orders, in increasing order."""
    parts = []
    for frame in frames:
        names, users = index_users(frame["user_id"].to_numpy(), frame.height)
        labels = frame["label"].cast(pl.Float64).to_numpy()
        values = grouped_auc(labels, frame["score"].to_numpy(), users, names.size)
        parts.append(pl.DataFrame({"user": names, "auc": values}).filter(pl.col("auc").is_not_nan()))
    if not parts:
        return ()
    means = pl.concat(parts).group_by("user").agg(pl.col("auc").mean())["auc"]
    return tuple(round(value, 4) for value in means.sort())
