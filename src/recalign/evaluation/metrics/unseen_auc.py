"""AUC of the samples whose target has a title that the training data never showed."""

from __future__ import annotations

from dataclasses import replace

from recalign.evaluation.metric import UNSEEN_TITLES
from recalign.evaluation.metrics.auc import PLUGIN as AUC

PLUGIN = replace(
    AUC,
    meaning="AUC of the samples whose target has a title that the training data never showed.",
    plain="",
    decides=False,
    subset=UNSEEN_TITLES,
    detail="of unseen titles",
    position=110,
)
