"""ECE after the log-odds are divided by the temperature."""

from __future__ import annotations

from recalign.evaluation.metric import after_temperature
from recalign.evaluation.metrics.ece import PLUGIN as ECE

PLUGIN = after_temperature(ECE)
