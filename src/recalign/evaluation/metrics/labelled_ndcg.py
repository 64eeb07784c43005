"""NDCG@10 within users' own labelled items."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.ranking import CUTOFF, labelled_ndcg


def _value(observed: Observed) -> Value:
    lists = labelled_ndcg(observed.frame)
    counts = {"users": lists.n_users, "excluded": lists.excluded}
    return Value(lists.value, lists.reason or "", counts, lists.per_user)


PLUGIN = Metric(
    heading=f"NDCG@{CUTOFF}",
    detail="of labelled lists",
    meaning="NDCG@10 of each user's own items, ranked by score; the label is the relevance.",
    value=_value,
    statistic="mean",
    position=30,
    counts={"users": "users with a liked item", "excluded": "users without one, who are left out"},
)
