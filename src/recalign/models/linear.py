"""Linear layers on CPUs: float32 products through oneDNN.

PyTorch multiplies float32 matrices with MKL, which on processors that are not Intel's leaves half of their vector units
idle; the oneDNN that PyTorch also carries does not (measured in docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_ONEDNN = bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def accelerate_linears(model: nn.Module) -> int:
    """Let every plain `nn.Linear` of `model` multiply through oneDNN on a CPU; returns how many.

    Parameters, names and gradients stay as they are. Layers on other devices, in other types or under autocast take
    PyTorch's own path. Nothing changes where this build of PyTorch has no oneDNN.
    """
    if not _ONEDNN:
        return 0
    plain = [module for module in model.modules() if type(module) is nn.Linear]
    for module in plain:
        module.__class__ = OneDnnLinear
    return len(plain)


class OneDnnLinear(nn.Linear):
    """An `nn.Linear` with another way to multiply."""

    def forward(self, input: Tensor) -> Tensor:
        """Input (…, in), output (…, out)."""
        weight = self.weight
        usable = input.dtype == weight.dtype == torch.float32 and input.device.type == "cpu" and input.numel() > 0
        if not usable or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
            result: Tensor = _Product.apply(input, weight, self.bias)  # type: ignore[no-untyped-call]
            return result
        return _product(input, weight, self.bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``. oneDNN is slow by orders on strided operands, except for transposed matrices."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")
    return result


def _dense(x: Tensor) -> Tensor:
    transposed = x.dim() == 2 and x.t().is_contiguous()
    return x if transposed else x.contiguous()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _product(rows, weight.t(), None).view(*gradient.shape[:-1], weight.shape[1])
        if ctx.needs_input_grad[1]:
            for_weight = _product(rows.t(), x.reshape(-1, x.shape[-1]).t(), None)
        if ctx.needs_input_grad[2]:
            for_bias = rows.sum(0)
        return for_x, for_weight, for_bias
