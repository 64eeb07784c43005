"""LogLoss of the probabilities as the model gives them."""

from __future__ import annotations

from recalign.evaluation.metric import Metric
from recalign.metrics.classification import Value, log_loss

PLUGIN = Metric(
    heading="LogLoss",
    meaning="Mean negative log-likelihood of the labels, in nats.",
    plain="error of the probabilities, less is better",
    value=lambda observed: Value(log_loss(observed.labels, observed.scores)),
    needs_log_odds=True,
    higher_is_better=False,
    digits=3,
    position=40,
)
