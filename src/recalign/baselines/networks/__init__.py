"""One file per sequential baseline; names are listed without importing torch."""

from __future__ import annotations

from typing import Final

from recalign.baselines.plugin import BaselinePlugin
from recalign.plugins import PluginGroup

BASELINES: Final = PluginGroup("baselines", "baseline", "recalign.baselines.networks", BaselinePlugin)
