"""GAUC: the mean of the AUCs within users."""

from __future__ import annotations

from recalign.evaluation.metric import Metric
from recalign.metrics.classification import gauc

PLUGIN = Metric(
    heading="GAUC",
    meaning="Mean of the AUCs within each user who has both labels.",
    plain="AUC within a user",
    value=lambda observed: gauc(observed.labels, observed.scores, observed.frame["user_id"].to_numpy()),
    statistic="gauc",
    compares=True,
    chance=0.5,
    position=20,
    counts={"users": "users with both labels"},
)
