"""ECE after the log-odds are divided by the temperature."""

from __future__ import annotations

from recalign.evaluation.metrics.ece import PLUGIN as ECE
from recalign.evaluation.temperature import after_temperature

PLUGIN = after_temperature(ECE)
