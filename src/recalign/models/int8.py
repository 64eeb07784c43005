"""Linear layers for scoring on CPUs whose products are of eight-bit integers.

Weights have one scale per output channel, found once. Activations have one per token, found as they come: what a token
becomes does not depend on the tokens beside it, so a prompt scores alone as it does in company. oneDNN multiplies; its
kernels take unsigned activations (around 128) with signed weights.

In language models a few channels may be twenty times as large as the rest, which leaves the rest few of the 256 steps.
So channels are mixed within blocks by an orthogonal matrix first, in weights and activations alike, which changes no
product (after QuaRot, Ashkboos et al. 2024, where the mixing is between layers).
"""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from recalign.errors import ModelError
from recalign.models.scoring_linear import ScoringLinear

_ZERO = 128  # of the unsigned activations, which lie within 127 of it
_BLOCK = 64  # channels that are mixed, at most


class Int8Linear(ScoringLinear):
    """The products of a float32 `layer` in integers."""

    tolerance: ClassVar[float] = 0.1

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        levels = weight_levels()
        self.rotation = _rotation(layer.in_features)
        weight = self._rotated(layer.weight.detach())
        self.scale = weight.abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny) / levels
        whole = (weight / self.scale[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(whole, None)  # laid out for oneDNN: no tensor for a state_dict
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)

    def product(self, rows: Tensor) -> Tensor:
        """See `ScoringLinear.product`."""
        rows = self._rotated(rows)
        size = rows.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(rows.dtype).tiny).div_(127)
        whole = (rows / size).add_(_ZERO + 0.5).to(torch.uint8)  # all positive, so cutting off rounds
        return _product(whole, self.packed, self.scale, self.zeros, _ZERO).mul_(size)

    def _rotated(self, rows: Tensor) -> Tensor:
        return (rows.reshape(-1, len(self.rotation)) @ self.rotation).view(rows.shape)


@cache
def _rotation(width: int) -> Tensor:
    """An orthogonal, symmetric matrix of equal magnitudes (Hadamard's), whose side divides `width`."""
    side = 1
    while side < _BLOCK and width % (2 * side) == 0:
        side *= 2
    matrix = torch.ones(1, 1)
    while len(matrix) < side:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    result: Tensor = matrix / side**0.5
    return result


@cache
def weight_levels() -> int:
    """The largest weight, as an integer, with which this processor's products are exact.

    127, or 64 where two products are added in sixteen bits (processors without VNNI): they would overflow in silence.

    Raises:
        ModelError: This build of PyTorch, or this processor, has no such products.
    """
    side = 64
    activations = torch.full((side, side), 255, dtype=torch.uint8)
    zeros, ones = torch.zeros(side, dtype=torch.int32), torch.ones(side)
    hint = "Score with --precision fp32."
    try:
        for levels in (127, 64):
            packed = torch.ops.onednn.qlinear_prepack(torch.full((side, side), levels, dtype=torch.int8), None)
            if bool((_product(activations, packed, ones, zeros, 0) == side * 255 * levels).all()):
                return levels
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError("precision int8: this build of PyTorch cannot", found=reason, hint=hint) from error
    raise ModelError("precision int8", found="a processor whose products are not exact", hint=hint)


def _product(x: Tensor, packed: Tensor, scale: Tensor, zeros: Tensor, zero: int) -> Tensor:
    """``(x - zero) @ (weight * scale).T`` in float32, from integers."""
    result: Tensor = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, zero, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return result
