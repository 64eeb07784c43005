"""Items the user never met, as disliked targets of a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from pydantic import ValidationError

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry
from recalign.data.schema import HistoryText
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.tuning.config import SamplingConfig
from recalign.tuning.sources import BlockSource, UserSequence
from recalign.tuning.world import Group, World

ITEMS = [f"i{place}" for place in range(40)]


class Recorder:
    """An encoder that keeps what it was asked about, and a catalogue of forty items."""

    ids = tuple(ITEMS)

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[int]]] = []

    def text(self, item_id: str) -> str:
        return item_id

    def with_texts(self, history: Sequence[HistoryEntry]) -> tuple[HistoryText, ...]:
        return tuple(HistoryText(entry.item_id, entry.liked) for entry in history)

    def encode_many(
        self, histories: Any, targets: Sequence[str], labels: Sequence[int], facts: Any
    ) -> list[EncodedPrompt]:
        self.asked.append((list(targets), list(labels)))
        return [EncodedPrompt(ids=(1, 2 + place), labels=(-100, 2), answer_start=1) for place in range(len(targets))]


def ask(unmet: int, entries: int = 20, batch: int = 4, world: World = World()) -> list[tuple[list[str], list[int]]]:
    recorder = Recorder()
    user = UserSequence("u", tuple(HistoryEntry(item, liked=True) for item in ITEMS[:entries]))
    prompts = DomainPrompts(cast(PromptEncoder, recorder), cast(ItemCatalog, recorder))
    config = SamplingConfig(targets_per_history=4, random_fraction=0.0, sampled_negatives=unmet)
    source = BlockSource([(prompts, [user])], config, batch_size=batch, seed=3, budget=1000)
    for step in range(5):
        source.batch(step, world.share)
    return recorder.asked


def test_each_block_asks_about_so_many_more_items_that_the_user_never_met() -> None:
    plain, more = ask(0), ask(6)
    for (targets, labels), (before, liked) in zip(more, plain, strict=True):
        assert targets[: len(before)] == before  # the blocks themselves stay as they were
        assert labels[: len(before)] == liked
        unmet = targets[len(before) :]
        assert len(set(unmet)) == len(unmet) == 6
        assert set(unmet) <= set(ITEMS[20:])
        assert labels[len(before) :] == [0] * 6
    assert len({tuple(targets) for targets, _ in more}) > 1
    assert ask(6) == more


def test_a_user_who_met_nearly_everything_gets_what_is_left() -> None:
    assert all(set(targets) >= {"i38", "i39"} for targets, _ in ask(6, entries=38))
    assert ask(6, entries=40) == ask(0, entries=40)


def test_sampled_negatives_belong_to_blocks() -> None:
    with pytest.raises(ValidationError, match="targets_per_history"):
        SamplingConfig(sampled_negatives=1)


def test_a_process_encodes_its_own_share_alone() -> None:
    alone, shares = ask(6, batch=12), [ask(6, batch=12, world=Group(rank, 2)) for rank in range(2)]
    assert all(0 < len(share) < len(alone) for share in shares)
    assert sorted(block for share in shares for block in share) == sorted(alone)
