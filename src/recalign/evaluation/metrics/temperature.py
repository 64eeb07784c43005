"""The temperature that validation labels ask for: 1 where log-odds are right as they are."""

from __future__ import annotations

from recalign.evaluation.metric import Metric, Observed
from recalign.metrics.classification import Value


def _value(observed: Observed) -> Value:
    reason = observed.no_temperature
    return Value(None if reason else float(observed.frame["temperature"].to_numpy().mean()), reason)


PLUGIN = Metric(
    heading="Temperature",
    meaning="What the log-odds are divided by in the calibrated figures; fitted on the validation split.",
    plain="what log-odds are divided by",
    value=_value,
    needs_log_odds=True,
    digits=3,
    column=False,
    position=65,
)
