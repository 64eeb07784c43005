"""Accuracy at probability one half."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.classification import accuracy


def _value(observed: Observed) -> Value:
    return Value(accuracy(observed.frame["label"].to_numpy(), observed.frame["score"].to_numpy()))


PLUGIN = Metric(
    heading="Accuracy",
    meaning="Share of samples on the right side of probability 0.5.",
    value=_value,
    needs_log_odds=True,
    column=False,
    position=60,
)
