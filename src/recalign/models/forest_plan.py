"""The groups of a forest as indices: what attention needs to run many unequal segments in a few dense products.

Segments are padded to the longest of their group; groups on different stems (the branches of one history each) that are
small run together, padded likewise. Padding never reaches a result: it is masked as a key and dropped as a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recalign.prompting.packing import Forest, Group

# Groups run together while their padded scores are at most so many times their own, and each has at most so many.
_WASTE = 1.6
_SMALL = 1 << 17


@dataclass(frozen=True, slots=True)
class Padding:
    """n stretches of tokens laid out as (n, L), each padded to the longest by repeating its last token.

    Attributes:
        shape: (n, L).
        places: Which token stands at each of the n·L places. This and the next are None without padding.
        back: At which place each token stands.
        real: 1.0 where a place is no padding, shape (n·L,).
    """

    shape: tuple[int, int]
    places: Tensor | None
    back: Tensor | None
    real: Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Padding:
        """Padding of consecutive stretches of these lengths."""
        sizes = np.asarray(lengths)
        longest = int(sizes.max())
        if (sizes == longest).all():
            return cls((len(sizes), longest), None, None, None)
        columns = np.arange(longest)
        places = np.minimum(columns, sizes[:, None] - 1) + (np.cumsum(sizes) - sizes)[:, None]
        real = (columns < sizes[:, None]).reshape(-1)
        arrays = (places.reshape(-1), np.flatnonzero(real), real.astype(np.float32))
        return cls((len(sizes), longest), *(torch.from_numpy(array).to(device) for array in arrays))

    def spread(self, x: Tensor, *, blank: bool = False) -> Tensor:
        """(H, tokens, …) → (H·n, L, …); with `blank` the padding is zero."""
        if self.places is not None and self.real is not None:
            x = x.index_select(1, self.places)
            if blank:
                x = x * self.real.to(x.dtype).view(-1, *[1] * (x.dim() - 2))
        return x.reshape(len(x) * self.shape[0], self.shape[1], *x.shape[2:])

    def collect(self, x: Tensor, heads: int) -> Tensor:
        """(H·n, L, …) → (H, tokens, …)."""
        flat = x.reshape(heads, self.shape[0] * self.shape[1], *x.shape[2:])
        return flat if self.back is None else flat.index_select(1, self.back)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What g groups see before their own segments: P keys each, padded.

    Attributes:
        queries: The groups' tokens, padded per group.
        root: Span that all groups see; empty where there is none.
        keys: Token of each of the g·P keys (padding repeats one). None for a single group.
        missing: True where a key is padding, shape (g, 1, P). None where none is.
        stems: The tokens after the root, of all groups, each once.
        slots: Where each of them stands among the g·P keys.
        spans: The spans of a single group.
    """

    queries: Padding
    root: tuple[int, int]
    keys: Tensor | None
    missing: Tensor | None
    stems: Tensor
    slots: Tensor
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, groups: Sequence[Group], device: torch.device) -> Prefix:
        """The joint prefix of groups that share all spans but the last."""
        queries = Padding.of([group.stop - group.start for group in groups], device)
        none = torch.empty(0, dtype=torch.int64, device=device)
        if len(groups) == 1:
            return cls(queries, (0, 0), None, None, none, none, groups[0].prefix)
        root = groups[0].prefix[0] if len(groups[0].prefix) > 1 else (0, 0)
        own = [np.arange(*group.prefix[-1]) for group in groups]
        shared = root[1] - root[0]
        width = shared + max(map(len, own))
        keys = np.zeros((len(groups), width), dtype=np.int64)
        missing = np.ones((len(groups), 1, width), dtype=np.bool_)
        for row, tokens in enumerate(own):
            keys[row, :shared] = np.arange(*root)
            keys[row, shared : shared + len(tokens)] = tokens
            missing[row, 0, : shared + len(tokens)] = False
        slots = np.concatenate([row * width + shared + np.arange(len(tokens)) for row, tokens in enumerate(own)])
        blank = torch.from_numpy(missing).to(device) if missing.any() else None
        arrays = (keys.reshape(-1), np.concatenate(own), slots)
        flat, stems, places = (torch.from_numpy(array).to(device) for array in arrays)
        return cls(queries, root, flat, blank, stems, places, ())

    def select(self, x: Tensor) -> Tensor:
        """The keys of (H, T, D), shape (H·g, P, D)."""
        if self.keys is None:
            parts = [x[:, start:stop] for start, stop in self.spans]
            return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return x.index_select(1, self.keys).view(len(x) * self.queries.shape[0], -1, x.shape[-1])

    def hide(self, scores: Tensor, value: float = -torch.inf) -> Tensor:
        """Give padded keys of (H·g, Q, P) a value, in place."""
        if self.missing is None:
            return scores
        g = len(self.missing)
        scores.view(-1, g, *scores.shape[1:]).masked_fill_(self.missing, value)
        return scores

    def add(self, target: Tensor, part: Tensor) -> None:
        """Add gradients of the keys, shape (H·g, P, D), to those of the tokens, (H, T, D), in place."""
        if self.keys is None:
            shares = torch.split(part, [stop - start for start, stop in self.spans], 1)
            for (start, stop), share in zip(self.spans, shares, strict=True):
                target[:, start:stop] += share
            return
        heads, width = len(target), target.shape[-1]
        shared = self.root[1] - self.root[0]
        by_group = part.view(heads, self.queries.shape[0], -1, width)
        if shared:
            target[:, self.root[0] : self.root[1]] += by_group[:, :, :shared].sum(1)
        target[:, self.stems] += by_group.reshape(heads, -1, width).index_select(1, self.slots)


@dataclass(frozen=True, slots=True)
class Plan:
    """Groups that run together.

    Attributes:
        span: Their tokens in the forest.
        segments: Their segments, padded.
        future: True where a key comes after the query within a segment, shape (L, L).
        prefix: What they see before, if anything.
    """

    span: slice
    segments: Padding
    future: Tensor
    prefix: Prefix | None


def plan(forest: Forest, device: torch.device) -> tuple[Plan, ...]:
    """The groups of a forest, in order, as indices on `device`."""
    plans = []
    for groups in _batches(forest.groups):
        segments = Padding.of([length for group in groups for length in group.lengths], device)
        future = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=device).triu_(1)
        prefix = Prefix.of(groups, device) if groups[0].prefix else None
        plans.append(Plan(slice(groups[0].start, groups[-1].stop), segments, future, prefix))
    return tuple(plans)


def seen_from(forest: Forest, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which tokens those at n positions see, shape (n, T)."""
    lengths = [length for group in forest.groups for length in group.lengths]
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)  # of each token's segment
    tokens = np.arange(len(forest.ids))
    seen: NDArray[np.bool_] = (tokens >= starts[positions, None]) & (tokens <= positions[:, None])
    for group in forest.groups:
        rows = np.flatnonzero((positions >= group.start) & (positions < group.stop))
        for start, stop in group.prefix:
            seen[rows, start:stop] = True
    return seen


def _batches(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Runs of consecutive small groups that differ in the last span of their prefix only."""
    batch: list[Group] = []
    sizes: list[tuple[int, int]] = []
    for group in groups:
        size = (group.stop - group.start, sum(stop - start for start, stop in group.prefix))
        joint = [*sizes, size]
        padded = len(joint) * max(q for q, _ in joint) * max(p for _, p in joint)
        fits = padded <= _WASTE * sum(q * p for q, p in joint) and padded <= _SMALL * len(joint)
        kin = bool(batch) and len(group.prefix) > 0 and group.prefix[:-1] == batch[0].prefix[:-1]
        apart = bool(batch) and group.prefix != batch[0].prefix
        if batch and not (kin and apart and fits):
            yield batch
            batch, joint = [], [size]
        batch.append(group)
        sizes = joint
    yield batch
