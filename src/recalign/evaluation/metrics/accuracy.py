"""Accuracy at probability one half."""

from __future__ import annotations

from recalign.evaluation.metric import Metric
from recalign.metrics.classification import Value, accuracy

PLUGIN = Metric(
    heading="Accuracy",
    meaning="Share of samples on the right side of probability 0.5.",
    value=lambda observed: Value(accuracy(observed.labels, observed.scores)),
    needs_log_odds=True,
    column=False,
    position=60,
)
