"""GAUC: the mean of the AUCs within users."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.classification import gauc


def _value(observed: Observed) -> Value:
    frame = observed.frame
    within = gauc(frame["label"].to_numpy(), frame["score"].to_numpy(), frame["user_id"].to_numpy())
    return Value(within.value, within.reason or "", {"users": within.n_users})


PLUGIN = Metric(
    heading="GAUC",
    meaning="Mean of the AUCs within each user who has both labels.",
    value=_value,
    statistic="gauc",
    chance=0.5,
    position=20,
    counts={"users": "users with both labels"},
)
