"""SASRec (Kang & McAuley 2018): causal self-attention over the history; the last position's output is the state.

Blocks as in the paper (§3.2): layer norm, attention, dropout, residual; layer norm, point-wise feed-forward, dropout,
residual. Positions have learned embeddings. Entries are projected to the state's width first, because feedback (and
text) make them wider than an item embedding.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BaselinePlugin


class SasRec(nn.Module):
    """Self-attention blocks over histories of `length` entries of width `inputs`; `width` is a multiple of `heads`."""

    def __init__(self, inputs: int, length: int, width: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(inputs, width)
        self.position = nn.Parameter(torch.empty(length, width).normal_(0.0, 0.02))
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, entries: Tensor) -> Tensor:
        """(n, length, inputs) to (n, width)."""
        x = self.dropout(self.project(entries) + self.position)
        for block in self.blocks:
            x = block(x)
        state: Tensor = self.norm(x[:, -1])
        return state


class _Block(nn.Module):
    """Attention and feed-forward, each after a layer norm and beside a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        shaped = self.queries_keys_values(self.norm_attention(x)).view(n, length, 3, self.heads, width // self.heads)
        queries, keys, values = shaped.permute(2, 0, 3, 1, 4)
        read = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.dropout(self.mix(read.transpose(1, 2).reshape(n, length, width)))
        fed: Tensor = self.dropout(self.forward_layers(self.norm_forward(x)))
        return x + fed


def _encoder(config: BaselineConfig, inputs: int) -> SasRec:
    return SasRec(inputs, config.max_history, config.state_width, config.depth, config.heads, config.dropout)


PLUGIN: Final = BaselinePlugin(title="SASRec", encoder=_encoder, layers=2)
