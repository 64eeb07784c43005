"""LogLoss of the probabilities as the model gives them."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.classification import log_loss


def _value(observed: Observed) -> Value:
    return Value(log_loss(observed.frame["label"].to_numpy(), observed.frame["score"].to_numpy()))


PLUGIN = Metric(
    heading="LogLoss",
    meaning="Mean negative log-likelihood of the labels, in nats.",
    value=_value,
    needs_log_odds=True,
    higher_is_better=False,
    digits=3,
    position=40,
)
