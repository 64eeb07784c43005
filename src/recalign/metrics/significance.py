"""Intervals and tests from score files: user-clustered bootstrap, Holm's correction, mean and sd over seeds.

Samples of one user are not independent, so users are resampled, each with all of their samples. Several score files of
one model (one per training seed) are resampled together: the statistic is then its mean over the seeds.

Frames have the columns of the score file: `sample_id`, `user_id`, `label` (0/1) and `score`. Statistic "mean" is the
mean of the scores themselves: for metrics with one value per list (`recalign.metrics.ranking.as_frame`). A column
`order` (one whole number per frame, 0 where there is none) names the order of events that the samples come from. Frames
of one order are about the same samples; frames of different orders share their users alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.errors import DataError
from recalign.metrics.classification import as_labels, as_scores, grouped_auc
from recalign.seeding import generator

Statistic = Literal["auc", "gauc", "mean"]
Frames = pl.DataFrame | Sequence[pl.DataFrame]
Float = NDArray[np.float64]

ORDER: Final = "order"
RESAMPLES: Final = 2000
LEVEL: Final = 0.95
_CHUNK_CELLS: Final = 2_000_000  # float64 cells per work array, about 16 MB
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """Percentile interval at `LEVEL`; `resamples` counts the replicates that it comes from, all with both classes."""

    low: float
    high: float
    resamples: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Statistic of a minus statistic of b on the same samples, in [-1, 1].

    Attributes:
        interval: Of the difference; None with fewer than two users, or where half the replicates are undefined.
        p_value: Two-sided bootstrap p in (0, 1]: one minus the level at which the interval would just touch 0; None
            where `interval` is.
    """

    difference: float
    interval: Interval | None
    p_value: float | None

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.interval is not None and self.interval.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.interval is not None and self.interval.high < 0


class _Weighted:
    """A statistic of one score file under many user multiplicities, from one sort."""

    def __init__(
        self, statistic: Statistic, labels: Float, scores: Float, users: NDArray[np.intp], n_users: int
    ) -> None:
        self.statistic = statistic
        if statistic == "gauc":
            per_user = grouped_auc(labels, scores, users, n_users)
            self.counts = (~np.isnan(per_user)).astype(np.float64)
            self.sums = np.nan_to_num(per_user)
        elif statistic == "mean":
            self.counts = np.bincount(users, minlength=n_users).astype(np.float64)
            self.sums = np.bincount(users, weights=scores, minlength=n_users).astype(np.float64)
        else:
            order = np.argsort(scores, kind="stable")
            self.users, self.labels, scores = users[order], labels[order], scores[order]
            self.ties = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))

    def __call__(self, multiplicity: Float) -> Float:
        """Statistic per row of `multiplicity` (replicates, users); shape (replicates,), NaN where undefined."""
        if self.statistic != "auc":
            numerator, denominator = multiplicity @ self.sums, multiplicity @ self.counts
        else:
            weights = multiplicity[:, self.users]
            positives = np.add.reduceat(weights * self.labels, self.ties, axis=1)
            negatives = np.add.reduceat(weights, self.ties, axis=1) - positives
            below = np.cumsum(negatives, axis=1) - negatives / 2
            numerator = np.einsum("ij,ij->i", positives, below)
            denominator = positives.sum(axis=1) * negatives.sum(axis=1)
        result = np.full(len(multiplicity), np.nan)
        np.divide(numerator, denominator, out=result, where=denominator > 0)
        return result


def bootstrap_ci(
    statistic: Statistic, scores: Frames, *, n_resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Percentile interval of a statistic from users resampled with replacement.

    Args:
        statistic: "auc", "gauc" or "mean".
        scores: One score frame, or one per training seed and order (interval of the mean over them).
        n_resamples: Replicates, at least 1.
        seed: Seeds the resampling only.

    Returns:
        The interval; None where there are fewer than two users, or where the statistic is undefined (one class only) in
        at least half of the replicates.

    Raises:
        DataError: For an unknown statistic, NaN scores, missing columns, or frames of one order on different samples.
    """
    replicates, _ = _replicates(statistic, _aligned(_as_list(scores)), [], n_resamples, seed)
    return _interval(replicates)


def paired_bootstrap(
    statistic: Statistic, scores_a: Frames, scores_b: Frames, *, n_resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference | None:
    """Difference a - b of a statistic between two models on the same samples, both under the same resampled users.

    Arguments and errors are those of `bootstrap_ci`; both models must have scores of the same orders. None where the
    statistic itself is undefined on these samples.
    """
    first, second = _as_list(scores_a), _as_list(scores_b)
    frames = _aligned([*first, *second])
    orders = [sorted({order_of(frame) for frame in side}) for side in (first, second)]
    if orders[0] != orders[1]:
        raise DataError("score files to compare", found=f"orders {orders[0]} and {orders[1]}", expected="the same")
    replicates, point = _replicates(statistic, frames[: len(first)], frames[len(first) :], n_resamples, seed)
    if math.isnan(point):
        return None
    interval = _interval(replicates)
    p_value = None
    if interval is not None:
        defined = replicates[~np.isnan(replicates)]
        tail = int(min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0)))
        p_value = min(1.0, 2 * (tail + 1) / (defined.size + 1))
    return PairedDifference(point, interval, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given: reject where one is below the family-wise level.

    Raises:
        DataError: Where a p-value is not in [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):  # NaN compares false
        raise DataError("p-values", found=str(list(p_values)), expected="numbers in [0, 1]")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) over seeds; the latter is None for a single value.

    Raises:
        DataError: Where there is no value, or one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise DataError("values over seeds", found=str(list(values)), expected="at least one, all finite")
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else None


def _as_list(scores: Frames) -> list[pl.DataFrame]:
    return [scores] if isinstance(scores, pl.DataFrame) else list(scores)


def order_of(frame: pl.DataFrame) -> int:
    """Which order of events the samples of a frame come from; 0 where it does not say."""
    return int(frame[ORDER][0]) if ORDER in frame.columns and frame.height else 0


def _aligned(frames: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """The frames sorted by sample id, after checking that those of one order have the same samples, users, labels."""
    if not frames:
        raise DataError("score files", found="none", expected="at least one")
    columns = ["sample_id", "user_id", "label", "score"]
    for frame in frames:
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise DataError("score file", found=f"no column {', '.join(missing)}", expected=", ".join(columns))
        twice = frame.height - frame["sample_id"].n_unique()
        if twice:
            raise DataError("score file", found=f"{twice} repeated sample ids", expected="one row per sample")
    ordered = [frame.select(columns).sort("sample_id") for frame in frames]
    first_of = dict[int, pl.DataFrame]()
    for given, frame in zip(frames, ordered, strict=True):
        first = first_of.setdefault(order_of(given), frame)
        if not first["sample_id"].equals(frame["sample_id"]):
            common = len(set(first["sample_id"]) & set(frame["sample_id"]))
            found = f"{first.height} and {frame.height} samples, {common} in common"
            raise DataError("score files to compare", found=found, expected="the same sample ids in both")
        for column in ("user_id", "label"):
            if not first[column].equals(frame[column]):
                where = f"score files to compare: column {column}"
                raise DataError(where, found="different values", expected="the same in both")
    return ordered


def _replicates(
    statistic: Statistic, plus: list[pl.DataFrame], minus: list[pl.DataFrame], n_resamples: int, seed: int
) -> tuple[Float, float]:
    """Replicates (n_resamples,) and point value of the mean over `plus` minus the mean over `minus` (0 if empty)."""
    if statistic not in get_args(Statistic):
        raise DataError("statistic", found=repr(statistic), expected=" or ".join(get_args(Statistic)))
    if n_resamples < 1:
        raise DataError("bootstrap resamples", found=str(n_resamples), expected="at least 1")
    names = np.unique(np.concatenate([frame["user_id"].to_numpy() for frame in plus]))
    if names.size == 0:
        return np.full(n_resamples, np.nan), math.nan

    def kernel(frame: pl.DataFrame) -> _Weighted:
        labels = as_labels(frame["label"].to_numpy())
        users = np.searchsorted(names, frame["user_id"].to_numpy())
        return _Weighted(statistic, labels, as_scores(frame["score"].to_numpy(), labels.size), users, names.size)

    signed = [(1 / len(plus), kernel(frame)) for frame in plus] + [(-1 / len(minus), kernel(frame)) for frame in minus]

    def total(multiplicity: Float) -> Float:
        result = np.zeros(len(multiplicity))
        for sign, weighted in signed:
            result += sign * weighted(multiplicity)
        result[np.abs(result) < _ROUNDING] = 0.0  # equal models differ by exactly nothing
        return result

    point = float(total(np.ones((1, names.size)))[0])
    if names.size < 2:  # one cluster: every replicate would be the sample itself
        return np.full(n_resamples, np.nan), point
    rng = generator(seed, "user-bootstrap")
    chunk = max(1, _CHUNK_CELLS // max(names.size, *(frame.height for frame in plus)))
    equal = np.full(names.size, 1 / names.size)
    sizes = [min(chunk, n_resamples - start) for start in range(0, n_resamples, chunk)]
    parts = [total(rng.multinomial(names.size, equal, size=size).astype(np.float64)) for size in sizes]
    return np.concatenate(parts), point


def _interval(replicates: Float) -> Interval | None:
    defined = replicates[~np.isnan(replicates)]
    if 2 * defined.size <= replicates.size:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), int(defined.size))
