"""ECE: how far probabilities are from the share of liked samples."""

from __future__ import annotations

from recalign.evaluation.metric import Metric
from recalign.metrics.classification import Value, ece, probability

PLUGIN = Metric(
    heading="ECE",
    meaning="Expected calibration error: the mean distance of a probability from the share that was liked.",
    plain="their distance from what was liked, 0 is best",
    value=lambda observed: Value(ece(observed.labels, probability(observed.scores))),
    needs_log_odds=True,
    higher_is_better=False,
    digits=3,
    position=50,
)
