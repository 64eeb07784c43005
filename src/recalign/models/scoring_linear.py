"""Linear layers for scoring on CPUs, whose products are in another arithmetic than the float32 around them.

Embeddings, norms, attention, sums and the output head of a model that has them stay in float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class ScoringLinear(nn.Module, ABC):
    """The products of a float32 linear `layer`, nearly; no gradients. Its weight is not kept.

    Attributes:
        tolerance: How far logits may be from those of another order of the same sums, relative to the largest one: a
            rounding error before the products may become a whole step.
    """

    tolerance: ClassVar[float]

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.width = layer.out_features
        self.bias = None if layer.bias is None else layer.bias.detach()

    @abstractmethod
    def product(self, rows: Tensor) -> Tensor:
        """Rows (n, in), at least one, times the weights: (n, out) in float32."""

    @torch.no_grad()
    def forward(self, input: Tensor) -> Tensor:
        """Input (…, in), output (…, out)."""
        rows = input.reshape(-1, input.shape[-1])
        if len(rows) == 0:
            return input.new_zeros(*input.shape[:-1], self.width)
        result = self.product(rows)
        if self.bias is not None:
            result += self.bias
        return result.view(*input.shape[:-1], -1)

    def activated(self, x: Tensor) -> Tensor:
        """``silu(layer(x))``."""
        result: Tensor = functional.silu(self(x), inplace=True)
        return result

    def joined(self, x: Tensor, operation: str, other: Tensor) -> Tensor:
        """``layer(x)`` joined with `other` by "add" or "mul"."""
        result: Tensor = self(x)
        return result.add_(other) if operation == "add" else result.mul_(other)


def replace_linears(model: nn.Module, head: nn.Module, kind: type[ScoringLinear]) -> int:
    """Replace the linear layers of a float32 model on a CPU, all but its output head, in place; returns how many."""
    found = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Linear) and layer is not head
    ]
    for parent, name, layer in found:
        setattr(parent, name, kind(layer))
    return len(found)
