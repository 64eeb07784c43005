"""ECE after the log-odds are divided by the temperature."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed, Value
from recalign.evaluation.temperature import calibrated, no_temperature
from recalign.metrics.calibration import ece, probability


def _value(observed: Observed) -> Value:
    if reason := no_temperature(observed):
        return Value(None, reason)
    return Value(ece(observed.frame["label"].to_numpy(), probability(calibrated(observed))))


PLUGIN = Metric(
    heading="ECE",
    detail="with temperature",
    meaning="ECE after the log-odds are divided by the temperature that was fitted on the validation split.",
    value=_value,
    needs_log_odds=True,
    higher_is_better=False,
    digits=3,
    column=False,
    position=72,
)
