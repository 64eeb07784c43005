"""How far predicted probabilities can be trusted: expected calibration error and temperature scaling.

Guo et al., "On Calibration of Modern Neural Networks" (2017), for a binary label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from recalign.errors import DataError
from recalign.metrics.classification import as_labels, as_scores

BINS: Final = 15
TEMPERATURE_RANGE: Final = (1e-3, 1e3)


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float | None:
    """Expected calibration error of the probability of "liked".

    The interval [0, 1] is cut into `bins` of equal width, each open on the left and closed on the right (0 belongs to
    the first). Per bin the mean probability is compared with the share of liked samples; the absolute differences are
    averaged with the bins' sample counts as weights. Empty bins count nothing.

    Args:
        labels: Zeros and ones, shape (n,).
        probabilities: Of "liked", in [0, 1], shape (n,).
        bins: Number of bins, at least 1.

    Returns:
        A number in [0, 1], lower is better; None where there are no samples.

    Raises:
        DataError: For labels other than 0 and 1, probabilities outside [0, 1], or different lengths.
    """
    truth, values, index = _binned(labels, probabilities, bins)
    if truth.size == 0:
        return None
    # sum of |mean p - mean y| * count / n over bins = sum of |sum p - sum y| / n
    gap = np.bincount(index, weights=values - truth, minlength=bins)
    return float(np.abs(gap).sum() / truth.size)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Samples whose probability falls into one bin: its mean, the share of liked ones, how many there are."""

    predicted: float
    observed: float
    count: int


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> list[ReliabilityBin]:
    """The points of a reliability diagram: the bins of `ece` that are not empty, in order.

    Args:
        labels: Zeros and ones, shape (n,).
        probabilities: Of "liked", in [0, 1], shape (n,).
        bins: Number of bins, at least 1.

    Raises:
        DataError: As `ece`.
    """
    truth, values, index = _binned(labels, probabilities, bins)
    counts = np.bincount(index, minlength=bins)
    predicted = np.bincount(index, weights=values, minlength=bins)
    observed = np.bincount(index, weights=truth, minlength=bins)
    return [
        ReliabilityBin(
            float(predicted[place] / counts[place]), float(observed[place] / counts[place]), int(counts[place])
        )
        for place in np.flatnonzero(counts)
    ]


def fit_temperature(labels: ArrayLike, log_odds: ArrayLike) -> float:
    """The temperature T > 0 for which ``log_odds / T`` has the smallest LogLoss.

    The targets are Platt's (1999): (P + 1) / (P + 2) for the P liked samples and 1 / (N + 2) for the N disliked ones,
    in place of 1 and 0. On many samples that changes next to nothing; on few or separable ones it keeps the optimum
    finite, where plain maximum likelihood would drive T to 0 and every probability to 0 or 1.

    Args:
        labels: Zeros and ones, shape (n,), n >= 1.
        log_odds: Finite log-odds of "liked", shape (n,).

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


def apply_temperature(log_odds: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """``log_odds / temperature``: the order (and so AUC and GAUC) stays, LogLoss and ECE change.

    Raises:
        DataError: Where the temperature is not a positive finite number.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise DataError("temperature", found=str(temperature), expected="a positive number")
    return np.asarray(log_odds, dtype=np.float64) / temperature


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
