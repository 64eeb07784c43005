"""AUC, GAUC, LogLoss and accuracy of yes/no labels, with explicit rules for what is undefined.

Every metric takes parallel arrays of shape (n,): labels are 0 or 1, scores and log-odds of "liked" are finite. It
raises DataError for anything else. A score that is not finite comes from a broken scorer, and ranking it anywhere would
hide that. A metric that is not defined on its input (no samples, only one class) is None, never NaN and never 0.5, and
`undefined_reason` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from recalign.errors import DataError


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

    Args:
        labels: Zeros and ones, shape (n,).
        scores: Finite, shape (n,).
        groups: Group of each sample, in [0, n_groups), shape (n,).
        n_groups: Number of groups.

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
