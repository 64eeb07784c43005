"""oneDNN on CPUs: float32 products, and Llama-family decoders without gradients with fewer passes over memory.

PyTorch multiplies float32 matrices with MKL, which on processors that are not Intel's leaves half of their vector units
idle; the oneDNN that PyTorch also carries does not (measured in docs/performance.md).

`hidden_at` lets oneDNN do the activation, the gate's product and the residual sums while a product's result is still in
the cache, applies rotary embeddings while queries and keys are laid out for attention, and computes the last layer's
feed-forward part at the positions asked for only. `recalign.models.forward.supports_fusion` checks the result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from recalign.models.attention import Dropout, attend
from recalign.models.forest_plan import Plan, plan, seen_from
from recalign.models.scoring_linear import ScoringLinear
from recalign.prompting.packing import Forest

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
        return _linear(input, weight, self.bias)

    def activated(self, x: Tensor) -> Tensor:
        """``silu(layer(x))``, without gradients."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "swish", [], "")
        return result

    def joined(self, x: Tensor, operation: str, other: Tensor) -> Tensor:
        """``layer(x)`` joined with `other` by "add" or "mul", without gradients."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, operation)
        return result


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
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
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _linear(rows, weight.t(), None).view(*gradient.shape[:-1], weight.shape[1])
        if ctx.needs_input_grad[1]:
            for_weight = _linear(rows.t(), x.reshape(-1, x.shape[-1]).t(), None)
        if ctx.needs_input_grad[2]:
            for_bias = rows.sum(0)
        return for_x, for_weight, for_bias


_FAMILY = ("llama", "mistral", "qwen2", "qwen3")
_LINEARS = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]


def computes_in_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16, where neither torch nor oneDNN is told to do without."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capable = torch.cpu._is_avx512_bf16_supported() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return bool(capable and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_fusible(model: nn.Module) -> bool:
    """Whether `hidden_at` is made for `model`: a Llama-family decoder on a CPU, in its arithmetic, without adapters.

    It passes by the modules whose forward puts the layers of a divided model together.
    """
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return False
    config: Any = model.config
    layers: Any = getattr(getattr(model, "model", None), "layers", None)  # none where PEFT wraps the model
    if config.model_type not in _FAMILY or config.hidden_act != "silu" or layers is None:
        return False
    types = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
    native = {("cpu", torch.float32)}
    if computes_in_bf16("cpu"):
        native.add(("cpu", torch.bfloat16))
    linears = [layer.get_submodule(name) for layer in layers for name in _LINEARS]
    return len(types) == 1 and types <= native and all(isinstance(one, OneDnnLinear | ScoringLinear) for one in linears)


@torch.no_grad()
def hidden_at(model: Any, forest: Forest, where: Tensor) -> Tensor:
    """Last hidden states (after the final norm) at n positions of a forest, shape (n, width)."""
    decoder = model.model
    device = where.device
    x = decoder.embed_tokens(torch.from_numpy(forest.ids).to(device))
    cos, sin = decoder.rotary_emb(x, torch.from_numpy(forest.positions).to(device)[None])
    groups = plan(forest, device)
    hidden = torch.from_numpy(~seen_from(forest, where.cpu().numpy())).to(device)
    for index, layer in enumerate(decoder.layers):
        last = index + 1 == len(decoder.layers)
        x = _layer(layer, x, cos[0], sin[0], groups, (where, hidden) if last else None)
    return _norm(decoder.norm, x)


def _layer(
    layer: Any, x: Tensor, cos: Tensor, sin: Tensor, groups: tuple[Plan, ...], only: tuple[Tensor, Tensor] | None
) -> Tensor:
    """One layer; with `only` at some positions alone, each with the tokens that are hidden from it."""
    attention, mlp = layer.self_attn, layer.mlp
    h = _norm(layer.input_layernorm, x)
    k, v = _heads(attention, "k", h), _heads(attention, "v", h).contiguous()
    k, scaling = _rotated(k, cos, sin), attention.scaling
    if only is not None:
        h, x, cos, sin = h[only[0]], x[only[0]], cos[only[0]], sin[only[0]]
    q = _rotated(_heads(attention, "q", h), cos * scaling, sin * scaling)
    if (shared := len(q) // len(k)) > 1:
        k, v = k.repeat_interleave(shared, 0), v.repeat_interleave(shared, 0)
    if only is None:
        h = attend(q, k, v, groups, None, Dropout(0.0))[0]
    else:
        scores = torch.bmm(q, k.transpose(1, 2)).masked_fill_(only[1], -torch.inf)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
        h = torch.bmm(weights, v).transpose(0, 1).contiguous()
    x = attention.o_proj.joined(h.view(len(x), -1), "add", x)
    h = _norm(layer.post_attention_layernorm, x)
    h = mlp.up_proj.joined(h, "mul", mlp.gate_proj.activated(h))
    result: Tensor = mlp.down_proj.joined(h, "add", x)
    return result


def _heads(attention: Any, name: str, x: Tensor) -> Tensor:
    """Queries, keys or values ("q", "k", "v") of (T, width), by head: (H, T, D)."""
    h: Tensor = getattr(attention, f"{name}_proj")(x).view(len(x), -1, attention.head_dim).transpose(0, 1)
    norm = getattr(attention, f"{name}_norm", None)
    return h if norm is None else _norm(norm, h)


def _norm(norm: Any, x: Tensor) -> Tensor:
    """Root-mean-square norm over the last axis, in float32 as the models do."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = length.square_().div_(x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return torch.mul(x, scale, out=torch.empty_like(x)).mul_(norm.weight)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of (H, T, D), laid out contiguously."""
    half = x.shape[-1] // 2
    result = torch.mul(x, cos, out=x.new_empty(x.shape))
    result[..., :half].addcmul_(x[..., half:], sin[:, :half], value=-1)
    result[..., half:].addcmul_(x[..., :half], sin[:, half:])
    return result
