"""DROS-BERT (TALLRec §3.1.3): GRU-BERT with the objective of DROS."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from recalign.baselines.networks.gru_bert import PLUGIN as GRU_BERT

PLUGIN: Final = replace(GRU_BERT, title="DROS-BERT", robust=True)
