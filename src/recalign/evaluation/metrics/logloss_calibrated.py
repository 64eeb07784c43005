"""LogLoss after the log-odds are divided by the temperature."""

from __future__ import annotations

from recalign.evaluation.metrics.logloss import PLUGIN as LOGLOSS
from recalign.evaluation.temperature import after_temperature

PLUGIN = after_temperature(LOGLOSS)
