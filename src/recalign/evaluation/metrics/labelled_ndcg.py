"""NDCG@10 within users' own labelled items."""

from __future__ import annotations

from recalign.evaluation.metric import Metric
from recalign.metrics.ranking import CUTOFF, labelled_ndcg

PLUGIN = Metric(
    heading=f"NDCG@{CUTOFF}",
    detail="of labelled lists",
    meaning="NDCG@10 of each user's own items, ranked by score; the label is the relevance.",
    plain="whether liked items come first, 1 is perfect",
    value=lambda observed: labelled_ndcg(observed.frame),
    statistic="mean",
    position=30,
    counts={"users": "users with a liked item", "excluded": "users without one, who are left out"},
)
