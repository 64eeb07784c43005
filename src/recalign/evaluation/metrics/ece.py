"""ECE: how far probabilities are from the share of liked samples."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.metrics.calibration import ece, probability


def _value(observed: Observed) -> Value:
    return Value(ece(observed.frame["label"].to_numpy(), probability(observed.frame["score"].to_numpy())))


PLUGIN = Metric(
    heading="ECE",
    meaning="Expected calibration error: the mean distance of a probability from the share that was liked.",
    value=_value,
    needs_log_odds=True,
    higher_is_better=False,
    digits=3,
    position=50,
)
