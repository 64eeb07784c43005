"""GRU4Rec (Hidasi et al. 2016): a recurrent network reads the history; its last state stands for the user.

Also the encoder of DROS, GRU-BERT and DROS-BERT.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.networks import BaselinePlugin


class Gru4Rec(nn.Module):
    """Gated recurrent units over entries of width `inputs`, with a state of `width`."""

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.gru = nn.GRU(inputs, width, num_layers=layers)

    def forward(self, entries: Tensor) -> Tensor:
        """(n, length, inputs) to (n, width): the last layer's state after the last entry."""
        states: Tensor = self.gru(entries.transpose(0, 1))[1]
        return states[-1]


def _encoder(config: BaselineConfig, inputs: int) -> Gru4Rec:
    return Gru4Rec(inputs, config.state_width, config.depth)


PLUGIN: Final = BaselinePlugin(title="GRU4Rec", encoder=_encoder)
