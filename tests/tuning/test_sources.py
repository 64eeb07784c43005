from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data import schema
from recalign.data.samples import HistoryEntry, SampleSet
from recalign.errors import DataError
from recalign.models.backbone import load_tokenizer
from recalign.models.config import BackboneConfig
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import IGNORE, EncodedPrompt, PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.tuning.config import SamplingConfig
from recalign.tuning.learned_titles import count_titles
from recalign.tuning.sources import BlockSource, PromptSource, UserSequence, holdout_users, lay_out, user_sequences


def entries(n: int) -> list[HistoryEntry]:
    return [HistoryEntry(f"i{index}", index % 2 == 0, float(index % 5 + 1)) for index in range(n)]


@given(
    n=st.integers(2, 60),
    targets=st.integers(1, 16),
    random_fraction=st.sampled_from([0.0, 1.0]),
    short_fraction=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=200, deadline=None)
def test_blocks_ask_about_each_interaction_at_most_once_and_only_after_its_history(
    n: int, targets: int, random_fraction: float, short_fraction: float, seed: int
) -> None:
    config = SamplingConfig(targets_per_history=targets, random_fraction=random_fraction, short_fraction=short_fraction)
    user = entries(n)
    blocks = lay_out(UserSequence("u", tuple(user)), config, np.random.default_rng(seed))
    asked = [entry.item_id for block in blocks for entry in block.targets]
    assert len(set(asked)) == len(asked) == n - min(10, max(1, n // 2))
    before = set() if random_fraction else {entry.item_id for entry in user} - set(asked)
    for block in blocks:
        assert 1 <= len(block.targets) <= targets
        assert 1 <= len(block.history) <= 10
        history = {entry.item_id for entry in block.history}
        assert not history & {entry.item_id for entry in block.targets}
        earlier = {entry.item_id for entry in block.earlier}
        assert not earlier & (history | {entry.item_id for entry in block.targets})
        assert not earlier or len(block.history) == 10
        if not random_fraction:
            assert history | earlier <= before
            before |= {entry.item_id for entry in block.targets}


def test_a_full_history_is_the_latest_ten_in_order_of_time() -> None:
    config = SamplingConfig(targets_per_history=4, random_fraction=0.0, short_fraction=0.0)
    for block in lay_out(UserSequence("u", tuple(entries(40))), config, np.random.default_rng(1)):
        start = int(block.targets[0].item_id[1:])
        assert [entry.item_id for entry in block.history] == [f"i{place}" for place in range(start - 10, start)]


def test_user_sequences_recover_each_interaction_once_in_order() -> None:
    past = [{"item_id": f"i{k}", "liked": k % 2 == 0, "rating": 4.0} for k in range(5)]
    rows = [
        ("s1", "train", "u", "i3", 0, 3.0, 3, past[:3]),
        ("s2", "train", "u", "i4", 1, 5.0, 4, past[1:4]),
        ("s3", "train", "v", "i0", 1, 5.0, 4, []),
    ]
    frame = pl.DataFrame(rows, schema=schema.SAMPLES, orient="row")
    sequences = user_sequences(frame)
    assert [sequence.user_id for sequence in sequences] == ["u", "v"]
    assert [entry.item_id for entry in sequences[0].entries] == ["i0", "i1", "i2", "i3", "i4"]
    assert [entry.liked for entry in sequences[0].entries] == [True, False, True, False, True]


def prompt(index: int) -> EncodedPrompt:
    return EncodedPrompt((1, 2, index + 3), (IGNORE, IGNORE, index + 3), 2)


@given(n=st.integers(1, 17), batch=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_epochs_show_every_prompt_once(n: int, batch: int) -> None:
    source = PromptSource([prompt(index) for index in range(n)], batch, seed=1)
    seen = [tree.branches[0][2] - 3 for step in range(n) for tree in source.batch(step)]
    for epoch in range(batch):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_batches_are_a_function_of_the_step() -> None:
    source = PromptSource([prompt(index) for index in range(30)], 8, seed=1)
    assert source.batch(5) == source.batch(5)
    other = PromptSource([prompt(index) for index in range(30)], 8, seed=2)
    assert source.batch(0) != other.batch(0)


def test_no_prompts_is_an_error() -> None:
    with pytest.raises(DataError, match="no prompts"):
        PromptSource([], 8, seed=1)


def test_holdout_does_not_depend_on_the_order_of_users() -> None:
    users = [f"u{index}" for index in range(50)]
    held = holdout_users(users, 0.1, 7)
    assert len(held) == 5
    assert holdout_users(users[::-1] * 2, 0.1, 7) == held
    assert len(holdout_users(["a", "b"], 0.01, 7)) == 1


def test_a_given_order_is_kept_in_every_epoch() -> None:
    source = PromptSource([prompt(index) for index in range(5)], 5, seed=1, shuffle=False)
    whole = PromptSource([prompt(index) for index in range(5)], 5, seed=1)
    orders = [[tree.branches[0] for tree in source.batch(step)] for step in range(2)]
    assert orders[0] == orders[1] == [prompt(index).ids for index in range(5)]
    assert [tree.branches[0] for tree in whole.batch(0)] != orders[0]


def test_some_blocks_have_numbers_for_titles_and_nothing_else(source: SampleSet, backbone: BackboneConfig) -> None:
    tokenizer = load_tokenizer(backbone).tokenizer
    encoder = PromptEncoder(PromptTemplate.load("default"), source.domain, tokenizer, max_length=512)
    known = count_titles([(source, source.frame("train"))])
    prompts = DomainPrompts.over(encoder, source.catalog, known)

    def texts(fraction: float) -> list[str]:
        config = SamplingConfig(targets_per_history=4, title_dropout=fraction)
        blocks = BlockSource([(prompts, user_sequences(source.frame("train")))], config, 4, seed=1, budget=4000)
        trees = [tree for step in range(12) for tree in blocks.batch(step)]
        return [tokenizer.decode((*tree.stem, *branch)) for tree in trees for branch in tree.branches]

    def told(text: str) -> bool:
        return any(title in text for title in source.catalog.frame["title"])

    assert all(told(text) for text in texts(0.0))
    for text in texts(1.0):
        assert not told(text)
        assert re.search(r'"movie \d+" \(others \d+ of 0, taste -?\d,', text), "what is told of all alike is small"
    assert 0.2 < np.mean([told(text) for text in texts(0.5)]) < 0.8
    assert texts(0.5) == texts(0.5)
