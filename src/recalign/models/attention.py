"""Attention over a forest of packed prompts: every token attends to the way to its root and to nothing else.

No mask over all pairs of tokens is built and no pair that is masked is computed: the cost grows with the forest, not
with its square. A token's scores come in two parts, the shared prefix and its own segment, which are joined through
their log-sum-exp (as in FlashAttention; Dao et al. 2022); the backward pass recomputes the weights from it.

On GPUs PyTorch's fused kernel does it instead (`recalign.models.flex`). Here it is chosen between the two.

The function registers with transformers' attention interface, which all its current decoders call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from recalign.models import flex
from recalign.models.forest_plan import Plan, Prefix, plan
from recalign.prompting.packing import Forest

NAME = "recalign-forest"
Kernel = Literal["groups", "flex"]
_forced: ContextVar[Kernel | None] = ContextVar("kernel", default=None)
_layout: ContextVar[_Layout] = ContextVar("forest")


@dataclass
class _Layout:
    """A forest as the kernels take it, made for the first layer that asks and kept for the others."""

    forest: Forest
    device: torch.device
    kernel: Kernel

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        return plan(self.forest, self.device)

    @cached_property
    def mask(self) -> BlockMask:
        return flex.forest_mask(self.forest, self.device)


@contextmanager
def attention_kernel(kernel: Kernel) -> Iterator[None]:
    """Within the context forests are attended over in grouped products or in the fused kernel, whatever the device."""
    token = _forced.set(kernel)
    try:
        yield
    finally:
        _forced.reset(token)


def kernel_on(device: torch.device) -> Kernel:
    """What runs on `device`: the fused kernel on a GPU where it works, otherwise grouped products."""
    return _forced.get() or ("flex" if device.type == "cuda" and flex.works(device) else "groups")


@contextmanager
def forest_attention(model: nn.Module, forest: Forest) -> Iterator[None]:
    """Within the context `model` attends over `forest`; it must be called on its ids alone, of shape (1, T)."""
    config: Any = model.config
    configs = {id(inner): inner for inner in (config, config.get_text_config())}
    before = {key: inner._attn_implementation for key, inner in configs.items()}
    device = next(model.parameters()).device
    token = _layout.set(_Layout(forest, device, kernel_on(device)))
    try:
        for inner in configs.values():
            inner._attn_implementation = NAME
        yield
    finally:
        for key, inner in configs.items():
            inner._attn_implementation = before[key]
        _layout.reset(token)


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The interface of transformers: (1, H, T, D) in, (1, T, H, D) out.

    Raises:
        NotImplementedError: The architecture adds something to attention that is not known here (biases, sinks).
    """
    unknown = [name for name in ("position_bias", "s_aux", "cache") if options.get(name) is not None]
    if unknown or attention_mask is not None or len(query) != 1:
        raise NotImplementedError(f"attention with {', '.join(unknown) or 'a mask of its own'}")
    # Under autocast the projections differ in type: rotary embeddings make queries and keys float32 again.
    query, key = query.to(value.dtype), key.to(value.dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layout = _layout.get()
    if layout.kernel == "flex" and not dropout:  # the fused kernel has no dropout
        with torch.autocast(query.device.type, enabled=False):
            return flex.attend(query, key, value, layout.mask, scale, softcap), None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    apply: Any = _ForestAttention.apply
    with torch.autocast(query.device.type, enabled=False):
        result: Tensor = apply(query[0], key[0], value[0], layout.plans, scale, softcap, dropout)
    return result[None], None


ALL_ATTENTION_FUNCTIONS.register(NAME, _forward)


def attend(
    q: Tensor, k: Tensor, v: Tensor, plans: Sequence[Plan], cap: float | None, drop: Dropout
) -> tuple[Tensor, Tensor]:
    """Attention over a forest; tensors (H, T, D), contiguous, `q` already scaled.

    Returns:
        The result, shape (T, H, D), and the log-sum-exp of every token's scores, float32, shape (H, T).
    """
    heads, tokens, width = q.shape
    result = q.new_empty(tokens, heads, width)
    totals = q.new_empty(heads, tokens, dtype=torch.float32)
    for part in plans:
        own, prefix = part.segments, part.prefix
        queries, keys, values = (own.spread(tensor[:, part.span]) for tensor in (q, k, v))
        weights, total = _weights(_scores(queries, keys, cap).masked_fill_(part.future, -torch.inf))
        out = own.collect(torch.bmm(drop(weights).to(v.dtype), values), heads)
        total = own.collect(total, heads)
        if prefix is not None:
            scores = prefix.hide(_scores(prefix.queries.spread(q[:, part.span]), prefix.select(k), cap))
            weights, above = _weights(scores)
            above = prefix.queries.collect(above, heads)
            seen = prefix.queries.collect(torch.bmm(drop(weights).to(v.dtype), prefix.select(v)), heads)
            out = torch.lerp(seen, out, torch.sigmoid(total - above).unsqueeze(-1).to(v.dtype))
            total = torch.logaddexp(total, above)
        result[part.span] = out.transpose(0, 1)
        totals[:, part.span] = total
    return result, totals


class _ForestAttention(torch.autograd.Function):
    """(H, T, D) thrice → (T, H, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        plans: tuple[Plan, ...],
        scale: float,
        cap: float | None,
        dropout: float,
    ) -> Tensor:
        q = torch.mul(query, scale, out=torch.empty_like(query, memory_format=torch.contiguous_format))
        k, v = key.contiguous(), value.contiguous()
        drop = Dropout(dropout)
        result, totals = attend(q, k, v, plans, cap, drop)
        ctx.save_for_backward(q, k, v, result, totals)
        ctx.plans, ctx.scale, ctx.cap, ctx.drop = plans, scale, cap, drop
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        q, k, v, result, totals = ctx.saved_tensors
        heads = len(q)
        d_result = gradients[0].transpose(0, 1).contiguous()
        shift = (d_result * result.transpose(0, 1)).sum(-1, dtype=torch.float32)
        d_q, d_k, d_v = (torch.zeros_like(tensor, dtype=torch.float32) for tensor in (q, k, v))
        keeps = iter(ctx.drop.kept)
        for part in ctx.plans:
            span, own, prefix = part.span, part.segments, part.prefix
            tensors = [own.spread(tensor[:, span]) for tensor in (q, k, v, totals)]
            upper = [own.spread(tensor[:, span], blank=True) for tensor in (d_result, shift)]
            found = _backward(*tensors, *upper, cap=ctx.cap, keep=next(keeps, None), mask=part.future)
            for target, gradient in zip((d_q, d_k, d_v), found, strict=True):
                target[:, span] += own.collect(gradient, heads)
            if prefix is not None:
                spread = prefix.queries.spread
                tensors = [spread(q[:, span]), prefix.select(k), prefix.select(v), spread(totals[:, span])]
                upper = [spread(tensor[:, span], blank=True) for tensor in (d_result, shift)]
                found = _backward(*tensors, *upper, cap=ctx.cap, keep=next(keeps, None), mask=prefix)
                d_q[:, span] += prefix.queries.collect(found[0], heads)
                prefix.add(d_k, found[1])
                prefix.add(d_v, found[2])
        return (d_q.mul_(ctx.scale).to(q.dtype), d_k.to(k.dtype), d_v.to(v.dtype), *[None] * 4)


class Dropout:
    """Attention dropout; keeps what it kept, in order, for the backward pass."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.kept: list[Tensor] = []

    def __call__(self, weights: Tensor) -> Tensor:
        if not self.rate:
            return weights
        keep = (torch.rand_like(weights) >= self.rate).to(weights.dtype).div_(1 - self.rate)
        self.kept.append(keep)
        return weights * keep


def _scores(q: Tensor, k: Tensor, cap: float | None) -> Tensor:
    scores = torch.bmm(q, k.transpose(1, 2))
    return scores if cap is None else torch.tanh(scores / cap) * cap


def _weights(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over the last axis and its log-sum-exp, read off the largest weight: ln w = s − lse."""
    weights = torch.softmax(scores, -1, dtype=torch.float32)
    return weights, scores.amax(-1).float() - weights.amax(-1).log_()


def _backward(
    q: Tensor, k: Tensor, v: Tensor, total: Tensor, d_result: Tensor, shift: Tensor,
    *, cap: float | None, keep: Tensor | None, mask: Tensor | Prefix,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of one block of scores; `total` is the log-sum-exp over all keys that a query sees."""
    scores = _scores(q, k, cap)
    weights = (scores.float() - total.unsqueeze(-1)).exp_()
    weights = mask.hide(weights, 0.0) if isinstance(mask, Prefix) else weights.masked_fill_(mask, 0.0)
    d_weights = torch.bmm(d_result, v.transpose(1, 2)).float()
    dropped = weights
    if keep is not None:
        dropped, d_weights = weights * keep, d_weights * keep
    d_v = torch.bmm(dropped.to(v.dtype).transpose(1, 2), d_result)
    d_scores = d_weights.sub_(shift.unsqueeze(-1)).mul_(weights)
    if cap is not None:
        d_scores = d_scores * (1 - (scores.float() / cap) ** 2)
    d_scores = d_scores.to(q.dtype)
    return torch.bmm(d_scores, k), torch.bmm(d_scores.transpose(1, 2), q), d_v
