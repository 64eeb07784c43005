"""Recall@10 over candidate lists."""

from __future__ import annotations

from recalign.evaluation.metric import over_candidates
from recalign.metrics.ranking import CUTOFF

_MEANING = "Share of candidate lists whose liked target is among the first ten."
PLUGIN = over_candidates("recall", f"Recall@{CUTOFF}", _MEANING, position=91)
