"""AUC: how often a liked sample scores above a disliked one."""

from __future__ import annotations

from recalign.evaluation.metric import Metric
from recalign.metrics.classification import Value, auc, undefined_reason

PLUGIN = Metric(
    heading="AUC",
    meaning="Probability that a liked sample scores above a disliked one; a tie counts one half.",
    plain="0.5 is guessing, 1 is perfect",
    value=lambda observed: Value(auc(observed.labels, observed.scores), undefined_reason(observed.labels) or ""),
    statistic="auc",
    decides=True,
    chance=0.5,
    position=10,
)
