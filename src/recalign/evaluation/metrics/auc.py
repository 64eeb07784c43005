"""AUC: how often a liked sample scores above a disliked one."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.classification import auc, undefined_reason


def _value(observed: Observed) -> Value:
    labels = observed.frame["label"].to_numpy()
    return Value(auc(labels, observed.frame["score"].to_numpy()), undefined_reason(labels) or "")


PLUGIN = Metric(
    heading="AUC",
    meaning="Probability that a liked sample scores above a disliked one; a tie counts one half.",
    value=_value,
    statistic="auc",
    decides=True,
    chance=0.5,
    position=10,
)
