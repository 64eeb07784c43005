"""What counts alone expect: a logistic regression from counted features to the probability of a like."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recalign.errors import DataError

_RIDGE = 1e-3  # per event, on standardised weights
_STEPS = 25  # of Newton's method, which takes about six
_CLOSE = 1e-9


@dataclass(frozen=True)
class LikeRule:
    """Probability of a like as 1 / (1 + exp(-(bias + weights · (features - means) / scales)))."""

    weights: tuple[float, ...]
    bias: float
    means: tuple[float, ...]
    scales: tuple[float, ...]

    @classmethod
    def fit(cls, features: NDArray[np.float64], likes: NDArray[np.float64]) -> LikeRule | None:
        """Fit to events: `features` of shape (events, features), `likes` 0 or 1. None where all likes are equal."""
        if len(likes) == 0 or likes.min() == likes.max():
            return None
        means, scales = features.mean(axis=0), features.std(axis=0)
        scales = np.where(scales > _CLOSE, scales, 1.0)
        design = np.column_stack([(features - means) / scales, np.ones(len(features))])
        ridge = np.append(np.full(features.shape[1], _RIDGE), 0.0)
        weights = np.zeros(design.shape[1])
        for _ in range(_STEPS):
            expected = expit(design @ weights)
            gradient = design.T @ (expected - likes) / len(likes) + ridge * weights
            curvature = (design * (expected * (1 - expected))[:, None]).T @ design / len(likes) + np.diag(ridge)
            change = np.linalg.solve(curvature, gradient)
            weights = weights - change
            if float(np.abs(change).max()) < _CLOSE:
                break
        *slopes, bias = (float(weight) for weight in weights)
        return cls(tuple(slopes), bias, tuple(map(float, means)), tuple(map(float, scales)))

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities in (0, 1) of events with these features, shape (events, features)."""
        scaled = (features - np.asarray(self.means)) / np.asarray(self.scales)
        # Not a matrix product, whose last bits depend on how many events are asked about together.
        return np.asarray(expit((scaled * np.asarray(self.weights)).sum(axis=1) + self.bias), dtype=np.float64)

    def to_json(self) -> str:
        """As text; `from_json` gives the rule back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LikeRule:
        """Raises DataError where `text` is no rule."""
        try:
            fields = json.loads(text)
            lists = {name: tuple(map(float, fields[name])) for name in ("weights", "means", "scales")}
            return cls(bias=float(fields["bias"]), **lists)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("rule of likes", found=text[:60], expected="weights, bias, means and scales") from error
