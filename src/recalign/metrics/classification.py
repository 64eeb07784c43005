"""AUC, GAUC, LogLoss, accuracy and calibration of yes/no labels, with explicit rules for what is undefined.

Every metric takes parallel arrays of shape (n,): labels are 0 or 1, scores and log-odds of "liked" are finite. It
raises DataError for anything else. A score that is not finite comes from a broken scorer, and ranking it anywhere would
hide that. A metric that is not defined on its input (no samples, only one class) is None, never NaN and never 0.5, and
`undefined_reason` says why.

Expected calibration error and temperature scaling are those of Guo et al., "On Calibration of Modern Neural Networks"
(2017), for a binary label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from recalign.errors import DataError

BINS: Final = 15
TEMPERATURE_RANGE: Final = (1e-3, 1e3)


@dataclass(frozen=True)
class Value:
    """A metric of one set of scores.

    Attributes:
        value: The number; None where it is undefined.
        reason: Why it is undefined.
        counts: Numbers that belong to it, e.g. the users that it is a mean over.
        lists: One value per list in the form of `recalign.metrics.ranking.as_frame`, where its users are resampled by
            the mean of these.
    """

    value: float | None
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    lists: pl.DataFrame | None = None


def as_labels(labels: ArrayLike) -> NDArray[np.float64]:
    """Labels as float64 zeros and ones, shape (n,). Raises DataError for other shapes and values."""
    values = np.asarray(labels, dtype=np.float64)
    if values.ndim != 1:
        raise DataError("labels", found=f"an array of shape {values.shape}", expected="one label per sample")
    wrong = int(np.count_nonzero((values != 0) & (values != 1)))
    if wrong:
        raise DataError("labels", found=f"{wrong} of {values.size} that are neither 0 nor 1", expected="0 or 1")
    return values


def as_scores(scores: ArrayLike, n: int, name: str = "scores") -> NDArray[np.float64]:
    """Scores as finite float64, shape (n,). Raises DataError for other shapes and values."""
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (n,):
        raise DataError(name, found=f"an array of shape {values.shape}", expected=f"shape ({n},), one per label")
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise DataError(name, found=f"{wrong} of {n} that are NaN or infinite", expected="finite numbers")
    return values


def undefined_reason(labels: ArrayLike) -> str | None:
    """Why an AUC of these labels is undefined, or None where it is defined."""
    values = as_labels(labels)
    if values.size == 0:
        return "no samples"
    if values.all():
        return "every label is positive"
    if not values.any():
        return "every label is negative"
    return None


def grouped_auc(
    labels: NDArray[np.float64], scores: NDArray[np.float64], groups: NDArray[np.intp], n_groups: int
) -> NDArray[np.float64]:
    """AUC within each group by the rank-sum formula; ties between a positive and a negative count 1/2.

    `groups` has the group of each sample, in [0, n_groups), shape (n,).

    Returns:
        Shape (n_groups,), in [0, 1]; NaN for groups without both classes.
    """
    order = np.lexsort((scores, groups))
    labels, scores, groups = labels[order], scores[order], groups[order]
    new_tie = np.ones(labels.size, dtype=bool)
    new_tie[1:] = (scores[1:] != scores[:-1]) | (groups[1:] != groups[:-1])
    starts = np.flatnonzero(new_tie)
    ends = np.append(starts[1:], labels.size)
    mean_position = ((starts + ends + 1) / 2)[np.cumsum(new_tie) - 1]  # 1-based, averaged over ties
    sizes = np.bincount(groups, minlength=n_groups)
    before = np.cumsum(sizes) - sizes
    ranks = mean_position - before[groups]
    positives = np.bincount(groups, weights=labels, minlength=n_groups)
    rank_sums = np.bincount(groups, weights=labels * ranks, minlength=n_groups)
    pairs = positives * (sizes - positives)
    result = np.full(n_groups, np.nan)
    np.divide(rank_sums - positives * (positives + 1) / 2, pairs, out=result, where=pairs > 0)
    return result


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: probability that a liked sample scores above a disliked one, ties counting 1/2.

    A number in [0, 1], or None where there are no samples or only one class (see `undefined_reason`).
    """
    truth = as_labels(labels)
    values = as_scores(scores, truth.size)
    result = grouped_auc(truth, values, np.zeros(truth.size, dtype=np.intp), 1)[0]
    return None if np.isnan(result) else float(result)


def gauc(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Value:
    """Mean of the AUCs within each user, over the users who have both classes; they are counted as ``users``.

    It is unweighted: a user with 2 samples counts as much as one with 200. `users` are of any sortable type.
    """
    truth = as_labels(labels)
    values = as_scores(scores, truth.size)
    names, groups = index_users(users, truth.size)
    per_user = grouped_auc(truth, values, groups, names.size)
    defined = per_user[~np.isnan(per_user)]
    if defined.size == 0:
        reason = "no samples" if truth.size == 0 else f"none of the {names.size} users has both classes"
        return Value(None, reason, {"users": 0})
    return Value(float(defined.mean()), counts={"users": int(defined.size)})


def index_users(users: ArrayLike, n: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The sorted distinct users and each sample's place among them, shape (n,). Raises DataError as `as_scores`."""
    values = np.asarray(users)
    if values.shape != (n,):
        raise DataError("users", found=f"an array of shape {values.shape}", expected=f"shape ({n},), one per label")
    names, groups = np.unique(values, return_inverse=True)
    return names, groups


def log_loss(labels: ArrayLike, log_odds: ArrayLike) -> float | None:
    """Mean negative log-likelihood in nats, computed from log-odds so that no probability rounds to 0 or 1.

    A number >= 0 (0.693 for a constant 0.5), or None where there are no samples.
    """
    truth = as_labels(labels)
    values = as_scores(log_odds, truth.size, "log-odds")
    if truth.size == 0:
        return None
    return float(np.mean(np.logaddexp(0.0, np.where(truth == 1, -values, values))))


def accuracy(labels: ArrayLike, log_odds: ArrayLike) -> float | None:
    """Share of samples on the right side of probability 0.5; exactly 0.5 is taken as "not liked".

    A number in [0, 1], or None where there are no samples.
    """
    truth = as_labels(labels)
    values = as_scores(log_odds, truth.size, "log-odds")
    return float(np.mean((values > 0) == (truth == 1))) if truth.size else None


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float | None:
    """Expected calibration error of the probability of "liked".

    The interval [0, 1] is cut into `bins` of equal width, each open on the left and closed on the right (0 belongs to
    the first). Per bin the mean probability is compared with the share of liked samples; the absolute differences are
    averaged with the bins' sample counts as weights. Empty bins count nothing.

    A number in [0, 1], lower is better; None where there are no samples. Raises DataError also for probabilities
    outside [0, 1].
    """
    truth, values, index = _binned(labels, probabilities, bins)
    if truth.size == 0:
        return None
    # sum of |mean p - mean y| * count / n over bins = sum of |sum p - sum y| / n
    gap = np.bincount(index, weights=values - truth, minlength=bins)
    return float(np.abs(gap).sum() / truth.size)


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> list[tuple[float, float, int]]:
    """The points of a reliability diagram: the bins of `ece` that are not empty, in order. Raises as `ece`.

    Of each the mean probability, the share of liked samples, and how many samples there are.
    """
    truth, values, index = _binned(labels, probabilities, bins)
    counts = np.bincount(index, minlength=bins)
    predicted = np.bincount(index, weights=values, minlength=bins)
    observed = np.bincount(index, weights=truth, minlength=bins)
    return [
        (float(predicted[place] / counts[place]), float(observed[place] / counts[place]), int(counts[place]))
        for place in np.flatnonzero(counts)
    ]


def fit_temperature(labels: ArrayLike, log_odds: ArrayLike) -> float:
    """The temperature T > 0 for which ``log_odds / T`` has the smallest LogLoss.

    The targets are Platt's (1999): (P + 1) / (P + 2) for the P liked samples and 1 / (N + 2) for the N disliked ones,
    in place of 1 and 0. On many samples that changes next to nothing; on few or separable ones it keeps the optimum
    finite, where plain maximum likelihood would drive T to 0 and every probability to 0 or 1.

    Returns:
        T in [1e-3, 1e3] (`TEMPERATURE_RANGE`); 1.0 where every log-odds is 0, as no T changes anything then. The upper
        end means that the scores say nothing about the labels, or the opposite.

    Raises:
        DataError: Where there are no samples; otherwise as for `ece`.
    """
    truth = as_labels(labels)
    values = as_scores(log_odds, truth.size, "log-odds")
    if truth.size == 0:
        raise DataError("temperature", found="no samples to fit it on", expected="at least one validation sample")
    if not values.any():
        return 1.0
    positives = truth.sum()
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (truth.size - positives + 2))

    def loss(log_temperature: float) -> float:
        scaled = values / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - targets * scaled))

    # The loss is convex in 1/T, hence has one minimum in log T as well.
    low, high = np.log(TEMPERATURE_RANGE[0]), np.log(TEMPERATURE_RANGE[1])
    result = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return float(np.exp(result.x))


def probability(log_odds: ArrayLike) -> NDArray[np.float64]:
    """``1 / (1 + exp(-log_odds))`` without overflow, shaped like the input, in [0, 1]."""
    return np.asarray(expit(np.asarray(log_odds, dtype=np.float64)), dtype=np.float64)


def _binned(
    labels: ArrayLike, probabilities: ArrayLike, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Labels, probabilities and the bin of each, all of shape (n,)."""
    if bins < 1:
        raise DataError("bins of probabilities", found=str(bins), expected="at least 1")
    truth = as_labels(labels)
    values = as_scores(probabilities, truth.size, "probabilities")
    outside = int(np.count_nonzero((values < 0) | (values > 1)))
    if outside:
        raise DataError("probabilities", found=f"{outside} outside [0, 1]", expected="numbers in [0, 1]")
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return truth, values, np.searchsorted(inner_edges, values, side="left")
