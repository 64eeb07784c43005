"""MRR over candidate lists."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.ranking import metric_frame


def _value(observed: Observed) -> Value:
    lists = metric_frame(observed.frame, "mrr")
    return Value(float(lists["score"].to_numpy().mean()), lists=lists)


PLUGIN = Metric(
    heading="MRR",
    detail="over candidates",
    meaning="Mean of one over the place of the liked target in its candidate list.",
    value=_value,
    over="candidates",
    statistic="mean",
    position=92,
)
