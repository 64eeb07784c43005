"""Attention over a forest of packed prompts: every token attends to the way to its root and to nothing else.

The groups of a `Forest` say which tokens see which spans, so no mask over all pairs of tokens is built and no pair that
is masked is computed: the cost grows with the forest, not with its square. A token's scores come in two parts, the
shared prefix and its own segment, which are joined through their log-sum-exp (as in FlashAttention; Dao et al. 2022);
the backward pass recomputes the weights from it.

The function registers with transformers' attention interface, which all its current decoders call. Within
`forest_attention` a model uses it; outside, the model is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from recalign.prompting.packing import Forest, Group

NAME = "recalign-forest"
_plans: ContextVar[tuple[Plan, ...]] = ContextVar("forest")


@contextmanager
def forest_attention(model: nn.Module, forest: Forest) -> Iterator[None]:
    """Within the context, `model` must be called on the ids of `forest` alone: input of shape (1, T)."""
    config: Any = model.config
    configs = {id(one): one for one in (config, config.get_text_config())}
    before = {key: one._attn_implementation for key, one in configs.items()}
    device = next(model.parameters()).device
    token = _plans.set(plan(forest, device))
    try:
        for one in configs.values():
            one._attn_implementation = NAME
        yield
    finally:
        for key, one in configs.items():
            one._attn_implementation = before[key]
        _plans.reset(token)


def plan(forest: Forest, device: torch.device) -> tuple[Plan, ...]:
    """The groups of a forest, as indices on `device`."""
    return tuple(Plan.of(group, device) for group in forest.groups)


@dataclass(frozen=True, slots=True)
class Plan:
    """A group as indices: its n segments padded to the longest, L.

    Attributes:
        span, prefix: As in `Group`.
        shape: (n, L).
        padded: Which token of the group stands at each of the n·L places; padding repeats the segment's last token.
            None where all segments are equally long.
        back: At which of the n·L places each token stands. None with `padded`.
        real: 1.0 where a place is no padding, shape (n·L, 1). None with `padded`.
        future: True where a key is behind the query, shape (L, L).
    """

    span: tuple[int, int]
    prefix: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    padded: Tensor | None
    back: Tensor | None
    real: Tensor | None
    future: Tensor

    @classmethod
    def of(cls, group: Group, device: torch.device) -> Plan:
        lengths = np.asarray(group.lengths)
        n, longest = len(lengths), int(lengths.max())
        padded = back = real = None
        if (lengths != longest).any():
            offsets = np.cumsum(lengths) - lengths
            places = np.arange(longest)
            inside = np.minimum(places, lengths[:, None] - 1) + offsets[:, None]
            valid = places < lengths[:, None]
            padded = torch.from_numpy(inside.reshape(-1)).to(device)
            back = torch.from_numpy(np.flatnonzero(valid)).to(device)
            real = torch.from_numpy(valid.reshape(-1, 1).astype(np.float32)).to(device)
        future = torch.ones(longest, longest, dtype=torch.bool, device=device).triu_(1)
        return cls((group.start, group.stop), group.prefix, (n, longest), padded, back, real, future)

    def lay_out(self, x: Tensor, *, blank: bool = False) -> Tensor:
        """(H, T, …) of the forest → (H·n, L, …) of this group's segments; with `blank` the padding is zero."""
        own = x[:, self.span[0] : self.span[1]]
        if self.padded is not None and self.real is not None:
            own = own.index_select(1, self.padded)
            if blank:
                own = own * (self.real if x.dim() == 3 else self.real[:, 0]).to(x.dtype)
        return own.reshape(len(x) * self.shape[0], self.shape[1], *x.shape[2:])

    def gather(self, x: Tensor, heads: int) -> Tensor:
        """(H·n, L, …) → (H, tokens of the group, …)."""
        flat = x.reshape(heads, self.shape[0] * self.shape[1], *x.shape[2:])
        return flat if self.back is None else flat.index_select(1, self.back)

    def seen(self, x: Tensor) -> Tensor:
        """The prefix of (H, T, D), shape (H, P, D)."""
        parts = [x[:, start:stop] for start, stop in self.prefix]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


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
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    apply: Any = _ForestAttention.apply
    with torch.autocast(query.device.type, enabled=False):
        result: Tensor = apply(query[0], key[0], value[0], _plans.get(), scale, softcap, dropout)
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
    for group in plans:
        span = slice(*group.span)
        scores = _scores(group.lay_out(q), group.lay_out(k), cap).masked_fill_(group.future, -torch.inf)
        weights, total = _weights(scores)
        own = group.gather(torch.bmm(drop(weights).to(v.dtype), group.lay_out(v)), heads)
        total = group.gather(total, heads)
        if group.prefix:
            weights, above = _weights(_scores(q[:, span], group.seen(k), cap))
            prefix = torch.bmm(drop(weights).to(v.dtype), group.seen(v))
            own = torch.lerp(prefix, own, torch.sigmoid(total - above).unsqueeze(-1).to(v.dtype))
            total = torch.logaddexp(total, above)
        result[span] = own.transpose(0, 1)
        totals[:, span] = total
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
        d_q, d_k, d_v = (torch.zeros_like(one, dtype=torch.float32) for one in (q, k, v))
        keeps = iter(ctx.drop.kept)
        for group in ctx.plans:
            span = slice(*group.span)
            parts = _backward(
                *(group.lay_out(one) for one in (q, k, v, totals)),
                *(group.lay_out(one, blank=True) for one in (d_result, shift)),
                cap=ctx.cap, keep=next(keeps, None), future=group.future,
            )  # fmt: skip
            for target, part in zip((d_q, d_k, d_v), parts, strict=True):
                target[:, span] += group.gather(part, heads)
            if group.prefix:
                part_q, part_k, part_v = _backward(
                    q[:, span], group.seen(k), group.seen(v), totals[:, span], d_result[:, span], shift[:, span],
                    cap=ctx.cap, keep=next(keeps, None), future=None,
                )  # fmt: skip
                d_q[:, span] += part_q
                sizes = [stop - start for start, stop in group.prefix]
                shares = zip(group.prefix, torch.split(part_k, sizes, 1), torch.split(part_v, sizes, 1), strict=True)
                for (start, stop), one_k, one_v in shares:
                    d_k[:, start:stop] += one_k
                    d_v[:, start:stop] += one_v
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
    *, cap: float | None, keep: Tensor | None, future: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of one block of scores; `total` is the log-sum-exp over all keys that a query sees."""
    scores = _scores(q, k, cap)
    weights = torch.exp(scores.float() - total.unsqueeze(-1))
    if future is not None:
        weights.masked_fill_(future, 0.0)
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
