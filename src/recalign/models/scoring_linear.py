"""Linear layers for scoring on CPUs, whose products are in another arithmetic than the float32 around them.

Embeddings, norms, attention, sums and the output head of a model that has them stay in float32.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional


class ScoringLinear(nn.Module):
    """The products of a float32 linear layer, nearly; no gradients. Its weight is not kept.

    Attributes:
        tolerance: How far logits may be from those of another order of the same sums, relative to the largest one: a
            rounding error before the products may become a whole step.
    """

    tolerance: ClassVar[float]

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
