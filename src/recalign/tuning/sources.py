"""Training data of a stage as trees by step: `BatchSource` implementations.

Each is a pure function of (data, configuration, seed, step); nothing is consumed, so a resumed run sees the same
batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry, Sample
from recalign.errors import DataError
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.packing import Tree, grow_tree, grow_trees
from recalign.prompting.template import HistoryText
from recalign.seeding import generator
from recalign.tuning.config import SamplingConfig


@dataclass(frozen=True, slots=True)
class DomainPrompts:
    """What it takes to turn samples of one data set into prompts: its encoder and its catalogue."""

    encoder: PromptEncoder
    catalog: ItemCatalog

    def history(self, entries: Sequence[HistoryEntry]) -> tuple[HistoryText, ...]:
        """Texts of a history, oldest first."""
        return tuple(HistoryText(self.catalog.text(entry.item_id), entry.liked, entry.rating) for entry in entries)


@dataclass(frozen=True, slots=True)
class UserSequence:
    """All training interactions of one user, oldest first."""

    user_id: str
    entries: tuple[HistoryEntry, ...]


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A seeded permutation of ``range(n)`` for one epoch."""
    return generator(seed, "order", epoch).permutation(n)


class PromptSource:
    """Ready prompts, one tree each, reshuffled every epoch: single-target samples and instruction data.

    Raises:
        DataError: There are no prompts.
    """

    def __init__(self, prompts: Sequence[EncodedPrompt], batch_size: int, seed: int, row_tokens: int) -> None:
        if not prompts:
            raise DataError("training data of the stage", found="no prompts", expected="at least one")
        self.prompts, self.batch_size, self.seed, self.row_tokens = prompts, batch_size, seed, row_tokens

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass (a fraction where the batch is larger than the data)."""
        return len(self.prompts) / self.batch_size

    def batch(self, step: int) -> list[Tree]:
        """The next `batch_size` prompts of the endless sequence of shuffled epochs."""
        n = len(self.prompts)
        trees: list[Tree] = []
        for place in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(place, n)
            if index == 0 or place == step * self.batch_size:
                order = epoch_order(n, self.seed, epoch)
            trees.append(grow_tree([self.prompts[order[index]]]))
        return trees


class HistorySource:
    """Several targets per history, drawn anew at every step from the users' training interactions.

    A draw picks a user, a cut in time (or, for a share of the draws, a random subset), up to `max_history` items before
    it as history, and the next items as targets. Targets of a history are independent of each other (SPEC §3).
    """

    def __init__(
        self,
        parts: Sequence[tuple[DomainPrompts, Sequence[UserSequence]]],
        config: SamplingConfig,
        batch_size: int,
        seed: int,
        row_tokens: int,
    ) -> None:
        self.config, self.seed, self.row_tokens = config, seed, row_tokens
        self.histories = max(1, batch_size // config.targets_per_history)
        self.users = [
            (domain, sequence)
            for domain, sequences in parts
            for sequence in sequences
            if len(sequence.entries) > config.min_history
        ]
        if not self.users:
            raise DataError(
                "training data of the stage",
                found="no user with a history and a target",
                expected=f"users with more than sampling.min_history = {config.min_history} interactions",
            )
        sizes = np.asarray([len(sequence.entries) for _, sequence in self.users], dtype=np.float64)
        weights = {"user": np.ones_like(sizes), "sqrt": np.sqrt(sizes), "interaction": sizes}[config.user_weight]
        self.weights = weights / weights.sum()
        self.targets = float(sum(len(sequence.entries) - config.min_history for _, sequence in self.users))

    @property
    def steps_per_epoch(self) -> float:
        """Steps until as many targets were drawn as there are."""
        return self.targets / (self.histories * self.config.targets_per_history)

    def batch(self, step: int) -> list[Tree]:
        """Trees of `histories` fresh draws."""
        rng = generator(self.seed, "histories", step)
        trees: list[Tree] = []
        for index in rng.choice(len(self.users), size=self.histories, p=self.weights):
            domain, sequence = self.users[index]
            history, targets = draw(sequence.entries, self.config, rng)
            texts = domain.history(history)
            prompts = domain.encoder.encode_many(
                [texts] * len(targets),
                [domain.catalog.text(target.item_id) for target in targets],
                [int(target.liked) for target in targets],
            )
            trees += grow_trees(prompts, self.row_tokens)
        return trees


def draw(
    entries: Sequence[HistoryEntry], config: SamplingConfig, rng: np.random.Generator
) -> tuple[list[HistoryEntry], list[HistoryEntry]]:
    """Draw one history (oldest first) and its targets from a user's interactions; they have no item in common."""
    n = len(entries)
    longest = min(config.max_history, n - 1)
    length = int(rng.integers(min(config.min_history, longest), longest + 1))
    if rng.random() < config.random_share:
        chosen = rng.permutation(n)[: length + config.targets_per_history]
        history = [entries[index] for index in sorted(chosen[:length])]
        targets = [entries[index] for index in chosen[length:]]
    else:
        cut = int(rng.integers(length, n))
        history = list(entries[cut - length : cut])
        targets = list(entries[cut : cut + config.targets_per_history])
    if config.drop_flags:
        kept = rng.random(len(history)) >= config.drop_flags
        history = [entry for entry, keep in zip(history, kept, strict=True) if keep] or history
    if rng.random() < config.drop_ratings:
        history = [HistoryEntry(entry.item_id, entry.liked) for entry in history]
    return history, targets


def user_sequences(train: pl.DataFrame) -> list[UserSequence]:
    """Each user's interactions, recovered from the train split: histories and targets in their order, each item once.

    Args:
        train: Rows of the train split (`schema.SAMPLES`), each user's rows in order of time.
    """
    seen: dict[str, dict[str, HistoryEntry]] = {}
    columns = ("user_id", "item_id", "label", "rating", "history")
    for user_id, item_id, label, rating, history in train.select(columns).iter_rows():
        entries = seen.setdefault(user_id, {})
        for entry in history:
            entries.setdefault(entry["item_id"], HistoryEntry(entry["item_id"], entry["liked"], entry["rating"]))
        entries.setdefault(item_id, HistoryEntry(item_id, bool(label), rating))
    return [UserSequence(user_id, tuple(entries.values())) for user_id, entries in seen.items()]


def choose_shots(samples: Sequence[Sample], shots: int | None, seed: int) -> list[Sample]:
    """The K samples of a K-shot stage, by seed; in the order of the data. A larger K contains a smaller one.

    Raises:
        DataError: There are fewer than K samples.
    """
    if shots is None:
        return list(samples)
    if shots > len(samples):
        raise DataError("K-shot stage", found=f"{len(samples)} training samples", expected=f"at least K = {shots}")
    chosen = generator(seed, "k-shot").permutation(len(samples))[:shots]
    return [samples[index] for index in sorted(chosen)]


def holdout_users(users: Sequence[str], share: float, seed: int) -> set[str]:
    """A seeded share of the users (at least one) that selection by held-out source users sets aside."""
    names = sorted(set(users))
    count = max(1, round(share * len(names)))
    return {names[index] for index in generator(seed, "holdout").permutation(len(names))[:count]}
