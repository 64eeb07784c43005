"""DROS (Yang et al. 2023): GRU4Rec with a distributionally robust objective (`recalign.baselines.robust`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from recalign.baselines.networks.gru4rec import PLUGIN as GRU4REC

PLUGIN: Final = replace(GRU4REC, title="DROS", robust=True)
