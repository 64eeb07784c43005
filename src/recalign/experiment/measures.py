"""Metrics of rows, verdicts against the best prior, paired comparisons between rows: statistics of a panel.

Intervals are user-clustered (`recalign.metrics.significance`); p-values are adjusted by Holm's method over all tests of
one kind in the panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recalign.experiment.study import Bin, Comparison, Measured, Metrics, Row, Verdict
from recalign.metrics.calibration import ece, probability, reliability
from recalign.metrics.classification import auc, gauc, grouped_auc, index_users, log_loss
from recalign.metrics.ranking import labelled_ndcg, metric_frame
from recalign.metrics.significance import (
    PairedDifference,
    Statistic,
    bootstrap_ci,
    holm,
    mean_sd,
    paired_bootstrap,
)

_DIGITS = 6


@dataclass
class Scored:
    """Scores of a row.

    Attributes:
        frames: A per-sample score frame per training seed.
        log_odds: Whether scores are log-odds.
        ranking: Values of each candidate list (`candidate_values`) per training seed; empty where none were ranked.
    """

    frames: list[pl.DataFrame]
    log_odds: bool
    ranking: list[pl.DataFrame]


@dataclass(frozen=True)
class Tested:
    """How a panel is tested: bootstrap resamples, and the samples that are scored apart as unseen titles."""

    resamples: int
    unseen: frozenset[str] = frozenset()


Rows = list[tuple[Row, Scored]]


def measured_row(row: Row, scored: Scored, tested: Tested) -> Row:
    """The row with its metrics, reliability and per-user AUCs; as it is where there are no scores."""
    metrics: dict[str, Measured | None] = {}
    if frames := scored.frames:
        unseen = (
            [frame.filter(pl.col("sample_id").is_in(list(tested.unseen))) for frame in frames] if tested.unseen else []
        )
        metrics |= {
            "auc": _over_seeds(frames, _auc, tested, "auc"),
            "gauc": _over_seeds(frames, _gauc, tested, "gauc"),
            "labelled_ndcg": _labelled(frames, tested),
            "unseen_auc": _over_seeds(unseen, _auc, tested, "auc"),
        }
        if scored.log_odds:
            metrics |= {"logloss": _over_seeds(frames, _logloss), "ece": _over_seeds(frames, _ece)}
    for name in ("ndcg", "recall", "mrr") if scored.ranking else ():
        lists = [metric_frame(values, name) for values in scored.ranking]
        metrics[name] = _over_seeds(lists, _mean, tested, "mean")
    return row.model_copy(
        update={
            "metrics": Metrics(**metrics),
            "reliability": _bins(scored),
            "user_auc": _user_aucs(scored.frames),
        }
    )


def verdicts(rows: Rows, tested: Tested) -> Rows:
    """Rows with their verdicts: AUC, and NDCG@10 over candidates, each against the prior that is best here."""
    by_auc = _against(rows, "auc", tested)
    by_ndcg = _against(rows, "ndcg", tested)
    return [
        (row.model_copy(update={"verdict": by_auc.get(index), "ranking_verdict": by_ndcg.get(index)}), scored)
        for index, (row, scored) in enumerate(rows)
    ]


def compare_rows(rows: Rows, pairs: Sequence[tuple[str, str]], tested: Tested) -> list[Comparison]:
    """Paired differences: named models at equal backbone and shots, and controlled rows against their plain ones.

    A prior has neither, so it stands beside every row of the model that it is compared with.
    """
    found: list[tuple[Row, Row, str, PairedDifference]] = []
    for left, scored in rows:
        for right, other in rows:
            # a baseline has no backbone: it stands beside a model on any
            shots = left.shots == right.shots or "prior" in (left.kind, right.kind)
            place = shots and len({left.backbone, right.backbone} - {""}) < 2
            named = not left.control and not right.control and (left.model, right.model) in pairs
            controlled = left.control and not right.control and left.model == right.model
            if not place or not (named or controlled):
                continue
            for metric in ("auc", "ndcg"):
                difference = _difference(scored, other, metric, tested)
                if difference is not None:
                    found.append((left, right, metric, difference))
    adjusted = _adjusted([each for *_, each in found])
    return [
        Comparison(
            a=left.title,
            b=right.title,
            metric="auc" if metric == "auc" else "ndcg",
            difference=round(each.difference, _DIGITS),
            interval=_ends(each),
            p_value=adjusted[index],
        )
        for index, (left, right, metric, each) in enumerate(found)
    ]


def _against(rows: Rows, metric: str, tested: Tested) -> dict[int, Verdict]:
    priors = [
        (value.mean, row.model, scored)
        for row, scored in rows
        if row.kind == "prior" and (value := getattr(row.metrics, metric)) is not None
    ]
    if not priors:
        return {}
    _, name, best = max(priors, key=lambda each: each[0])
    found = {
        index: difference
        for index, (row, scored) in enumerate(rows)
        if row.kind != "prior" and (difference := _difference(scored, best, metric, tested)) is not None
    }
    adjusted = dict(zip(found, _adjusted(list(found.values())), strict=True))
    return {
        index: Verdict(
            prior=name,
            difference=round(each.difference, _DIGITS),
            interval=_ends(each),
            p_value=adjusted[index],
            beats=each.above_zero,
        )
        for index, each in found.items()
    }


def _difference(left: Scored, right: Scored, metric: str, tested: Tested) -> PairedDifference | None:
    """None where one of them was not scored (so), or the metric is undefined."""
    if metric == "auc":
        if not left.frames or not right.frames:
            return None
        return paired_bootstrap("auc", left.frames, right.frames, n_resamples=tested.resamples)
    if not left.ranking or not right.ranking:
        return None
    sides = [[metric_frame(values, "ndcg") for values in each.ranking] for each in (left, right)]
    return paired_bootstrap("mean", sides[0], sides[1], n_resamples=tested.resamples)


def _adjusted(differences: Sequence[PairedDifference]) -> list[float | None]:
    places = [index for index, each in enumerate(differences) if each.p_value is not None]
    values = holm([differences[index].p_value or 0.0 for index in places])
    found = dict(zip(places, values, strict=True))
    return [round(found[index], _DIGITS) if index in found else None for index in range(len(differences))]


def _ends(difference: PairedDifference) -> tuple[float, float] | None:
    interval = difference.interval
    return None if interval is None else (round(interval.low, _DIGITS), round(interval.high, _DIGITS))


def _over_seeds(
    frames: Sequence[pl.DataFrame],
    value: Callable[[pl.DataFrame], float | None],
    tested: Tested | None = None,
    statistic: Statistic | None = None,
) -> Measured | None:
    """A metric's mean and sd over the seeds, with the interval of the mean where there is a statistic for it."""
    values = [value(frame) for frame in frames]
    known = [each for each in values if each is not None]
    if not known or len(known) < len(values):
        return None
    summary = mean_sd(known)
    interval = None
    if tested is not None and statistic is not None:
        interval = bootstrap_ci(statistic, list(frames), n_resamples=tested.resamples)
    return Measured(
        mean=round(summary.mean, _DIGITS),
        sd=None if summary.sd is None else round(summary.sd, _DIGITS),
        ci=None if interval is None else (round(interval.low, _DIGITS), round(interval.high, _DIGITS)),
        n=summary.n,
    )


def _labelled(frames: Sequence[pl.DataFrame], tested: Tested) -> Measured | None:
    lists = [labelled_ndcg(frame) for frame in frames]
    if any(each.value is None for each in lists):
        return None
    return _over_seeds([each.per_user for each in lists], _mean, tested, "mean")


def _auc(frame: pl.DataFrame) -> float | None:
    return auc(frame["label"].to_numpy(), frame["score"].to_numpy())


def _gauc(frame: pl.DataFrame) -> float | None:
    return gauc(frame["label"].to_numpy(), frame["score"].to_numpy(), frame["user_id"].to_numpy()).value


def _logloss(frame: pl.DataFrame) -> float | None:
    return log_loss(frame["label"].to_numpy(), frame["score"].to_numpy())


def _ece(frame: pl.DataFrame) -> float | None:
    return ece(frame["label"].to_numpy(), probability(frame["score"].to_numpy()))


def _mean(frame: pl.DataFrame) -> float | None:
    return float(frame["score"].to_numpy().mean()) if frame.height else None


def _bins(scored: Scored) -> tuple[Bin, ...]:
    if not scored.frames or not scored.log_odds:
        return ()
    pooled = pl.concat([frame.select("label", "score") for frame in scored.frames])
    found = reliability(pooled["label"].to_numpy(), probability(pooled["score"].to_numpy()))
    return tuple(
        Bin(predicted=round(each.predicted, 4), observed=round(each.observed, 4), count=each.count) for each in found
    )


def _user_aucs(frames: Sequence[pl.DataFrame]) -> tuple[float, ...]:
    """AUC within each user who has both labels, averaged over the seeds, in increasing order."""
    values = []
    for frame in frames:
        ordered = frame.sort("sample_id")
        names, users = index_users(ordered["user_id"].to_numpy(), ordered.height)
        labels = ordered["label"].cast(pl.Float64).to_numpy()
        values.append(grouped_auc(labels, ordered["score"].to_numpy(), users, names.size))
    if not values:
        return ()
    mean = np.mean(values, axis=0)
    return tuple(round(float(each), 4) for each in np.sort(mean[~np.isnan(mean)]))
