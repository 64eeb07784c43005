"""LogLoss after the log-odds are divided by the temperature."""

from __future__ import annotations

from recalign.evaluation.metric import after_temperature
from recalign.evaluation.metrics.logloss import PLUGIN as LOGLOSS

PLUGIN = after_temperature(LOGLOSS)
