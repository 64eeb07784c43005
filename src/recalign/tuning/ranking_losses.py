"""Losses on the order of the targets of one history: over pairs of them, and over lists.

The prompts of a tree ask about targets of one history. Which answer means "liked" need not be known: a prompt with
answer a should have higher log-odds of a against b than every prompt of its tree with another answer b. So likes stand
above dislikes, and dislikes below likes; prompts with equal answers are never held against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recalign.prompting.encoding import IGNORE
from recalign.prompting.packing import Forest


class RankingCounts(NamedTuple):
    """What the ranking losses are means over: pairs of prompts of one tree with different answers; prompts in one."""

    pairs: float
    lists: float


class RankingSums(NamedTuple):
    """Sums of the losses of pairs and of lists."""

    pairs: Tensor
    lists: Tensor


def first_answers(forest: Forest) -> NDArray[np.int64]:
    """Where the first token of each prompt's answer stands; shape (prompts,)."""
    after = np.full(len(forest.ids), -1)
    answers = np.flatnonzero((forest.labels != IGNORE) & (forest.previous >= 0))
    after[forest.previous[answers[::-1]]] = answers[::-1]
    return after[forest.answers]


def ranking_counts(forest: Forest, sizes: Sequence[int]) -> RankingCounts:
    """How much a forest adds to the means; `sizes` are the prompts of each tree."""
    pairs = lists = 0
    for answers in np.split(forest.ids[first_answers(forest)], np.cumsum(sizes)[:-1]):
        differ = answers[:, None] != answers[None]
        pairs += int(differ.sum()) // 2
        lists += int(differ.any(axis=1).sum())
    return RankingCounts(pairs, lists)


def ranking_sums(logits: Tensor, forest: Forest, sizes: Sequence[int]) -> RankingSums:
    """Sums of the losses of a forest.

    A pair of prompts i and j with answers a and b has the loss softplus(-gap). The gap is the log-odds of a against b
    at i minus those at j. A prompt i also has the loss of its list, which is itself and all prompts of its tree with
    other answers: minus the logarithm of its share in the softmax over their log-odds.

    Args:
        logits: At the answer position of every prompt, in the forest's order; shape (prompts, vocabulary).
        forest: The packed prompts.
        sizes: How many prompts each tree has.
    """
    pairs = lists = logits.new_zeros(())
    for gap, differ in _gaps(logits, forest, sizes):
        pairs = pairs + (torch.nn.functional.softplus(-gap) * differ.triu(1)).sum()
        others = (-gap).masked_fill(~differ, -torch.inf)
        lists = lists + torch.cat([gap.new_zeros(len(gap), 1), others], dim=1).logsumexp(dim=1).sum()
    return RankingSums(pairs, lists)


def _gaps(logits: Tensor, forest: Forest, sizes: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Per tree, of shape (prompts, prompts): by how much i is above j; and whether their answers differ."""
    ids = torch.from_numpy(forest.ids[first_answers(forest)]).to(logits.device)
    start = 0
    for size in sizes:
        answers = ids[start : start + size]
        given = logits[start : start + size][:, answers]
        start += size
        own = given.diagonal()
        yield own[:, None] - given + own[None] - given.T, answers[:, None] != answers[None]
