"""GRU-BERT (TALLRec §3.1.3): GRU4Rec beside the embeddings of the items' texts, with 4 layers of 1024 units."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from recalign.baselines.networks.gru4rec import PLUGIN as GRU4REC

PLUGIN: Final = replace(GRU4REC, title="GRU-BERT", text=True, width=1024, layers=4)
