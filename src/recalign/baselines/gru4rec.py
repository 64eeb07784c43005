"""GRU4Rec (Hidasi et al. 2016): a recurrent network reads the history; its last state stands for the user.

Also the encoder of DROS (another objective, see `recalign.baselines.dros`), GRU-BERT and DROS-BERT (text features).
"""

from __future__ import annotations

from torch import Tensor, nn


class Gru4Rec(nn.Module):
    """Gated recurrent units.

    Args:
        inputs: Width of an entry.
        width: Width of the state.
        layers: Number of layers.
    """

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.gru = nn.GRU(inputs, width, num_layers=layers)

    def forward(self, entries: Tensor) -> Tensor:
        """(n, length, inputs) to (n, width): the last layer's state behind the last entry."""
        _, states = self.gru(entries.transpose(0, 1))
        last: Tensor = states[-1]
        return last
