"""NDCG@10 over candidate lists."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.ranking import CUTOFF, metric_frame


def _value(observed: Observed) -> Value:
    lists = metric_frame(observed.frame, "ndcg")
    return Value(float(lists["score"].to_numpy().mean()), lists=lists)


PLUGIN = Metric(
    heading=f"NDCG@{CUTOFF}",
    detail="over candidates",
    meaning="NDCG@10 of a liked target among items that the user never met.",
    value=_value,
    over="candidates",
    statistic="mean",
    decides=True,
    position=90,
)
