"""NDCG@10 over candidate lists."""

from __future__ import annotations

from recalign.evaluation.metric import over_candidates
from recalign.metrics.ranking import CUTOFF

_MEANING = "NDCG@10 of a liked target among items that the user never met."
PLUGIN = over_candidates("ndcg", f"NDCG@{CUTOFF}", _MEANING, position=90, decides=True)
