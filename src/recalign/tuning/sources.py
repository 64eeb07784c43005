"""Training data of a stage as trees by step: `BatchSource` implementations.

Each is a pure function of (data, configuration, seed, step): a resumed run sees the same batches.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from recalign.data.facts import PAST
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.errors import DataError
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import Tree, grow_tree, grow_trees
from recalign.seeding import generator
from recalign.tuning.config import SamplingConfig


@dataclass(frozen=True, slots=True)
class UserSequence:
    """All training interactions of one user, oldest first."""

    user_id: str
    entries: tuple[HistoryEntry, ...]


Share = Callable[[Sequence[int]], Sequence[int]]
"""Chooses what one process takes of a step: from the lengths of all pieces, the places of its own."""

_Part = tuple[DomainPrompts, Sequence[UserSequence]]


def everything(sizes: Sequence[int]) -> Sequence[int]:
    """The share of a process that is alone."""
    return range(len(sizes))


class BatchSource(Protocol):
    """Training data as a pure function of the step (from 0), which is what makes resuming exact."""

    @property
    def steps_per_epoch(self) -> float: ...

    def batch(self, step: int, share: Share = everything) -> Sequence[Tree]: ...


class PromptSource:
    """Ready prompts, one tree each. Epochs are reshuffled, unless the order is the point (a curriculum).

    Raises:
        DataError: There are no prompts.
    """

    def __init__(self, prompts: Sequence[EncodedPrompt], batch_size: int, seed: int, *, shuffle: bool = True) -> None:
        if not prompts:
            raise DataError("training data of the stage", found="no prompts", expected="at least one")
        self.prompts, self.batch_size, self.seed, self.shuffle = prompts, batch_size, seed, shuffle

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass (a fraction where the batch is larger than the data)."""
        return len(self.prompts) / self.batch_size

    def batch(self, step: int, share: Share = everything) -> list[Tree]:
        """The next `batch_size` prompts of the endless sequence of epochs, or a share of them."""
        n = len(self.prompts)
        prompts: list[EncodedPrompt] = []
        for place in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(place, n)
            if index == 0 or place == step * self.batch_size:
                order = generator(self.seed, "order", epoch).permutation(n) if self.shuffle else np.arange(n)
            prompts.append(self.prompts[order[index]])
        return [grow_tree([prompts[place]]) for place in share([len(prompt.ids) for prompt in prompts])]


@dataclass(frozen=True, slots=True)
class Block:
    """One history (oldest first) and the targets that are asked about after it; `earlier` as in `CandidateList`.

    Where `titles` is false, numbers stand for them (`SamplingConfig.title_dropout`).
    """

    part: int
    user_id: str
    history: tuple[HistoryEntry, ...]
    targets: tuple[HistoryEntry, ...]
    earlier: tuple[HistoryEntry, ...] = ()
    titles: bool = True

    def asked(self) -> CandidateList:
        """What a scorer would be asked."""
        return CandidateList(self.user_id, self.history, tuple(it.item_id for it in self.targets), self.earlier)


class BlockSource:
    """Several targets per history: every epoch lays each user's interactions out in blocks, see `SamplingConfig`.

    Args:
        parts: Prompts and user sequences of each data set; their blocks are shuffled together.
        config: Layout.
        batch_size: Prompts per step; a step takes ``batch_size // targets_per_history`` blocks.
        seed: Root of layouts and order.
        budget: Most tokens of a tree; the targets of a longer one are asked about in several.

    Raises:
        DataError: No user has a history and a target.
    """

    def __init__(self, parts: Sequence[_Part], config: SamplingConfig, batch_size: int, seed: int, budget: int) -> None:
        self.config, self.seed, self.budget = config, seed, budget
        self.prompts = [prompts for prompts, _ in parts]
        self.users = [(part, user) for part, (_, users) in enumerate(parts) for user in users if len(user.entries) > 1]
        if not self.users:
            found = "no user with a history and a target"
            raise DataError("training data of the stage", found=found, expected="at least one")
        self.blocks_per_step = max(1, batch_size // config.targets_per_history)
        self._starts = [0]
        self._epoch: tuple[int, list[Block]] = (-1, [])
        self._untitled: list[DomainPrompts] = []

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in the first epoch (the number of blocks varies a little between epochs)."""
        return len(self._blocks(0)) / self.blocks_per_step

    def batch(self, step: int, share: Share = everything) -> list[Tree]:
        """Trees of the next `blocks_per_step` blocks of the endless sequence of epochs, or of a share of them."""
        blocks = []
        for place in range(step * self.blocks_per_step, (step + 1) * self.blocks_per_step):
            epoch = self._epoch_of(place)
            blocks.append(self._blocks(epoch)[place - self._starts[epoch]])
        # Tokens are not counted yet: encoding is work that is shared, too. A target stands in a question of its own.
        sizes = [len(block.history) + 2 * len(block.targets) for block in blocks]
        return [tree for place in share(sizes) for tree in self._trees(blocks[place])]

    def _epoch_of(self, place: int) -> int:
        while place >= self._starts[-1]:
            self._starts.append(self._starts[-1] + len(self._blocks(len(self._starts) - 1)))
        return bisect.bisect_right(self._starts, place) - 1

    def _blocks(self, epoch: int) -> list[Block]:
        """The shuffled blocks of an epoch (the last one asked for is kept)."""
        if self._epoch[0] != epoch:
            rng = generator(self.seed, "blocks", epoch)
            negatives = generator(self.seed, "unmet", epoch)
            blocks = [
                self._with_negatives(block, user, negatives)
                for part, user in self.users
                for block in lay_out(user, self.config, rng, part)
            ]
            blocks = [blocks[index] for index in rng.permutation(len(blocks))]
            if self.config.title_dropout:
                untitled = generator(self.seed, "untitled", epoch)
                blocks = [replace(block, titles=untitled.random() >= self.config.title_dropout) for block in blocks]
                self._untitled = [prompts.without_titles(untitled) for prompts in self.prompts]
            self._epoch = (epoch, blocks)
        return self._epoch[1]

    def _with_negatives(self, block: Block, user: UserSequence, rng: np.random.Generator) -> Block:
        """The block with `sampled_negatives` more targets, as disliked: items that the user never met."""
        count = self.config.sampled_negatives
        if not count:
            return block
        ids = self.prompts[block.part].catalog.ids
        met = {entry.item_id for entry in user.entries}
        places = rng.choice(len(ids), min(len(ids), count + len(met)), replace=False)
        unmet = [ids[place] for place in places if ids[place] not in met][:count]
        return replace(block, targets=(*block.targets, *(HistoryEntry(item, liked=False) for item in unmet)))

    def _trees(self, block: Block) -> list[Tree]:
        labels = [int(target.liked) for target in block.targets]
        prompts = (self.prompts if block.titles else self._untitled)[block.part]
        return grow_trees(prompts.encode([block.asked()], labels), self.budget)


def lay_out(user: UserSequence, config: SamplingConfig, rng: np.random.Generator, part: int = 0) -> list[Block]:
    """Cut one user's interactions into blocks: consecutive targets after their history, in time or shuffled order.

    The first interactions (as many as a full history, or half of a shorter sequence) are targets in shuffled epochs
    only, when others come before them; the first cut is random, so that the targets that share a history vary.
    A history that is cut short stands for a user of whom no more is known: it has nothing before it.
    """
    entries, longest = user.entries, config.max_history
    n = len(entries)
    order = rng.permutation(n) if rng.random() < config.random_fraction else np.arange(n)
    first = min(longest, max(1, n // 2))
    cuts = [first, *range(first + int(rng.integers(1, config.targets_per_history + 1)), n, config.targets_per_history)]
    blocks = []
    for start, stop in zip(cuts, [*cuts[1:], n], strict=True):
        short = longest > 1 and rng.random() < config.short_fraction
        length = int(rng.integers(1, longest)) if short else longest
        past = [entries[index] for index in order[max(0, start - (length if short else max(PAST, length))) : start]]
        targets = tuple(entries[index] for index in order[start:stop])
        blocks.append(Block(part, user.user_id, tuple(past[-length:]), targets, tuple(past[:-length])))
    return blocks


def user_sequences(train: pl.DataFrame) -> list[UserSequence]:
    """Each user's interactions, recovered from the train split: histories and targets in their order, each item once.

    `train` has the columns of `schema.SAMPLES`, each user's rows in order of time.
    """
    seen: dict[str, dict[str, HistoryEntry]] = {}
    columns = ("user_id", "item_id", "label", "rating", "history")
    for user_id, item_id, label, rating, history in train.select(columns).iter_rows():
        entries = seen.setdefault(user_id, {})
        for entry in history:
            entries.setdefault(entry["item_id"], HistoryEntry(entry["item_id"], entry["liked"], entry["rating"]))
        entries.setdefault(item_id, HistoryEntry(item_id, bool(label), rating))
    return [UserSequence(user_id, tuple(entries.values())) for user_id, entries in seen.items()]


def holdout_users(users: Sequence[str], fraction: float, seed: int) -> set[str]:
    """A seeded fraction of the users (at least one) that selection by held-out source users sets aside."""
    names = sorted(set(users))
    count = max(1, round(fraction * len(names)))
    return {names[index] for index in generator(seed, "holdout").permutation(len(names))[:count]}
