"""Linear layers for scoring on CPUs that multiply in bfloat16.

A bfloat16 has eight bits, so what is rounded to it matters. Here weights and activations are rounded just before they
are multiplied, and sums come out as bfloat16. Everything between two products is float32. (A model whose parameters all
are bfloat16 rounds the sums of its residual stream and its logits, too, in which a difference below 0.1 may vanish.)
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from recalign.models.scoring_linear import ScoringLinear


class Bf16Linear(ScoringLinear):
    """The products of a float32 `layer` in bfloat16."""

    tolerance: ClassVar[float] = 3e-2

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        # Laid out for oneDNN once, which costs a tenth of each product otherwise. No tensor for a state_dict.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(torch.bfloat16))
        self.width = layer.out_features
        self.bias = None if layer.bias is None else layer.bias.detach()

    @torch.no_grad()
    def forward(self, input: Tensor) -> Tensor:
        """Input (…, in), output (…, out)."""
        rows = input.reshape(-1, input.shape[-1]).to(torch.bfloat16)
        if len(rows) == 0:
            return input.new_zeros(*input.shape[:-1], self.width)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, None, "none", [], "").float()
        if self.bias is not None:
            result += self.bias
        return result.view(*input.shape[:-1], -1)
