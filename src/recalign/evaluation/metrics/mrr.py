"""MRR over candidate lists."""

from __future__ import annotations

from recalign.evaluation.metric import over_candidates

_MEANING = "Mean of one over the place of the liked target in its candidate list."
PLUGIN = over_candidates("mrr", "MRR", _MEANING, position=92)
