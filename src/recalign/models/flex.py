"""Attention over a forest in PyTorch's flex_attention: one fused kernel for GPUs, forward and backward.

The kernel learns the forest twice. A rule says which pairs of tokens see each other: segments are numbered so that
whatever hangs below a segment has the numbers from its own to a last one, and a token sees the earlier tokens of those
segments whose numbers include its own. Blocks of tokens say where to look: pairs of blocks in which nothing is visible
are never computed, and pairs in which everything is are not masked.

Rows are padded to whole blocks, and the kernel is compiled for any number of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import pad

from recalign.prompting.packing import Forest, Group

logger = logging.getLogger(__name__)

BLOCK: Final = 128
# Narrower heads are padded: the products of the kernel take at least so many columns.
_NARROWEST: Final = 16
# Types, shapes of heads and modes (with or without gradients) that one process may meet. PyTorch's own limit is 8.
_GRAPHS: Final = 64


@cache
def works(device: torch.device) -> bool:
    """Whether this machine compiles the kernel for `device`; found out by running it, once. The log says why not."""
    trial = torch.ones(3, 1, 1, BLOCK, _NARROWEST, device=device).unbind()
    mask = _block_mask(np.zeros(BLOCK, np.int64), np.full(1, -1), np.full((1, 1), BLOCK * (BLOCK + 1) // 2), device)
    try:
        with torch.no_grad():
            _compiled()(*trial, mask, None)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n", 2)[:2])
        logger.warning("no fused attention on %s (%s): grouped products instead", device, reason)
        return False
    return True


def attend(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float, cap: float | None) -> Tensor:
    """Attention over a forest of T tokens; fewer heads of keys than of queries are shared.

    Args:
        query, key, value: Shape (1, heads, T, D), in one type.
        mask: What `forest_mask` made of the forest.
        scale: Factor of the scores.
        cap: Bound of the scores (soft-capping), if any.

    Returns:
        Shape (1, T, heads, D).
    """
    tokens, width = query.shape[2:]
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and torch.is_grad_enabled():
        # In the backward pass one program takes a block of keys, with all queries of all heads that share it. The frame
        # is seen by every token, so a copy of the keys for each head makes many shorter programs of a very long one.
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    missing = (0, max(0, _NARROWEST - width), 0, mask.seq_lengths[0] - tokens)
    # Scale and cap differ between models; as numbers of the graph they would be compiled in.
    query, key, value = (pad(tensor, missing).contiguous() for tensor in (query * scale, key, value))
    bound = None if cap is None else torch.full((), cap, device=query.device)
    result: Tensor = _compiled()(query, key, value, mask, bound)
    return result[:, :, :tokens, :width].transpose(1, 2)


def forest_mask(forest: Forest, device: torch.device) -> BlockMask:
    """The forest as the kernel takes it, on `device`. Padding is one more segment, which sees itself."""
    tokens, groups = len(forest.ids), forest.groups
    blocks = -(-tokens // BLOCK)
    lengths = [length for group in groups for length in group.lengths]
    above = [group.prefix[-1][0] if group.prefix else -1 for group in groups for _ in group.lengths]
    if missing := blocks * BLOCK - tokens:
        lengths, above = [*lengths, missing], [*above, -1]
    stops = np.cumsum(lengths, dtype=np.int64)
    starts = stops - np.array(lengths, dtype=np.int64)
    parents = np.where(np.array(above) < 0, -1, np.searchsorted(starts, above))
    segments = np.repeat(np.arange(len(lengths)), lengths)
    return _block_mask(segments, parents, _visible_pairs(groups, starts, stops, blocks), device)


def _visible_pairs(
    groups: Sequence[Group], starts: NDArray[np.int64], stops: NDArray[np.int64], blocks: int
) -> NDArray[np.int64]:
    """How many pairs of tokens see each other in each pair of blocks, shape (blocks of queries, blocks of keys)."""
    pairs = np.zeros((blocks, blocks), dtype=np.int64)
    for group in groups:
        rows, queries = _by_block(group.start, group.stop)
        for span in group.prefix:
            columns, keys = _by_block(*span)
            pairs[rows, columns] += np.outer(queries, keys)
    # Most segments lie in one block: those at once.
    place, sizes = starts // BLOCK, stops - starts
    inside = place == (stops - 1) // BLOCK
    np.add.at(pairs, (place[inside], place[inside]), (sizes * (sizes + 1) // 2)[inside])
    for start, stop in zip(starts[~inside].tolist(), stops[~inside].tolist(), strict=True):
        rows, sizes = _by_block(start, stop)
        pairs[rows, rows] += np.tril(np.outer(sizes, sizes), -1) + np.diag(sizes * (sizes + 1) // 2)
    return pairs


def _by_block(start: int, stop: int) -> tuple[slice, NDArray[np.int64]]:
    """Which blocks the tokens from `start` to `stop` lie in, and how many in each."""
    first, last = start // BLOCK, -(-stop // BLOCK)
    edges = np.clip(np.arange(first, last + 1) * BLOCK, start, stop)
    return slice(first, last), np.diff(edges)


def _block_mask(
    segments: NDArray[np.int64], parents: NDArray[np.int64], pairs: NDArray[np.int64], device: torch.device
) -> BlockMask:
    """From each token's segment, each segment's parent (-1: none; parents come first) and the visible pairs."""
    first, last = (torch.from_numpy(numbers[segments]).to(device) for numbers in _numbers(parents.tolist()))
    full = pairs == BLOCK * BLOCK
    some, all_ = (_ordered(chosen, device) for chosen in ((pairs > 0) & ~full, full))
    lengths = (len(pairs) * BLOCK, len(pairs) * BLOCK)
    rule = _rule(first, last)
    return BlockMask.from_kv_blocks(*some, *all_, BLOCK_SIZE=BLOCK, mask_mod=rule, seq_lengths=lengths)


def _ordered(chosen: NDArray[np.bool_], device: torch.device) -> tuple[Tensor, Tensor]:
    """How many columns are chosen in each row, and the columns, those chosen first."""
    order = np.argsort(~chosen, axis=1, kind="stable")
    counts, columns = (torch.from_numpy(array.astype(np.int32))[None, None] for array in (chosen.sum(1), order))
    return counts.to(device), columns.to(device)


def _numbers(parents: list[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Each segment's number, and the last number of what hangs below it."""
    sizes = [1] * (len(parents) + 1)  # the last entry stands above all segments: parent -1
    for segment in reversed(range(len(parents))):
        sizes[parents[segment]] += sizes[segment]
    numbers = [0] * len(parents)
    free = [0] * len(sizes)
    for segment, parent in enumerate(parents):
        numbers[segment] = free[parent]
        free[parent] += sizes[segment]
        free[segment] = numbers[segment] + 1
    first = np.array(numbers, dtype=np.int32)
    return first, first + np.array(sizes[:-1], dtype=np.int32) - 1


def _rule(first: Tensor, last: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = first[query]
        return (key <= query) & (first[key] <= own) & (own <= last[key])

    return sees


def _capping(cap: Tensor) -> Callable[..., Tensor]:
    def capped(score: Tensor, *_place: Tensor) -> Tensor:
        return torch.tanh(score / cap) * cap

    return capped


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, cap: Tensor | None) -> Any:
    capping = None if cap is None else _capping(cap)
    return flex_attention(query, key, value, score_mod=capping, block_mask=mask, scale=1.0, enable_gqa=True)


@cache
def _compiled() -> Callable[..., Any]:
    # With `fullgraph` more graphs than the limit are an error. Without it PyTorch would go on with a full matrix.
    # The limit is set for the process: as an argument of `torch.compile` it came with PyTorch 2.12.
    from torch import _dynamo as dynamo  # takes two seconds

    dynamo.config.recompile_limit = max(_GRAPHS, dynamo.config.recompile_limit)
    compiled: Callable[..., Any] = torch.compile(_attention, fullgraph=True)
    return compiled
