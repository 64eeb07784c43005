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
        super().__init__(layer)
        # Laid out for oneDNN once, which costs a tenth of each product otherwise. No tensor for a state_dict.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(torch.bfloat16))

    def product(self, rows: Tensor) -> Tensor:
        """See `ScoringLinear.product`."""
        rounded = rows.to(torch.bfloat16)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(rounded, self.packed, None, "none", [], "").float()
        return result
