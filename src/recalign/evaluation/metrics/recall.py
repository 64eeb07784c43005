"""Recall@10 over candidate lists."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.ranking import CUTOFF, metric_frame


def _value(observed: Observed) -> Value:
    lists = metric_frame(observed.frame, "recall")
    return Value(float(lists["score"].to_numpy().mean()), lists=lists)


PLUGIN = Metric(
    heading=f"Recall@{CUTOFF}",
    detail="over candidates",
    meaning="Share of candidate lists whose liked target is among the first ten.",
    value=_value,
    over="candidates",
    statistic="mean",
    position=91,
)
