"""Label mass: how much of a language model's probability its two label answers have."""

from __future__ import annotations

from recalign.data.schema import LABEL_MASS
from recalign.evaluation.metric import Metric, Observed
from recalign.metrics.classification import Value


def _value(observed: Observed) -> Value | None:
    if LABEL_MASS not in observed.frame.columns:
        return None  # no language model
    return Value(float(observed.frame[LABEL_MASS].to_numpy().mean()))


PLUGIN = Metric(
    heading="Label mass",
    meaning="Mean probability of a language model's two label answers together.",
    plain="probability of the two answers together, near 1 after tuning",
    value=_value,
    digits=3,
    column=False,
    position=85,
)
