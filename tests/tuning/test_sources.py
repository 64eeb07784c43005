from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data import schema
from recalign.data.samples import HistoryEntry, Sample
from recalign.errors import DataError
from recalign.prompting.encoding import EncodedPrompt
from recalign.prompting.packing import IGNORE
from recalign.tuning.config import SamplingConfig
from recalign.tuning.sources import PromptSource, choose_shots, draw, holdout_users, user_sequences


def entries(n: int) -> list[HistoryEntry]:
    return [HistoryEntry(f"i{index}", index % 2 == 0, float(index % 5 + 1)) for index in range(n)]


@given(
    n=st.integers(2, 40),
    targets=st.integers(1, 12),
    random_share=st.sampled_from([0.0, 0.5, 1.0]),
    dropped=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=200, deadline=None)
def test_draws_keep_history_and_targets_apart(
    n: int, targets: int, random_share: float, dropped: float, seed: int
) -> None:
    config = SamplingConfig(
        targets_per_history=targets, random_share=random_share, min_history=1, max_history=10, drop_flags=dropped
    )
    user = entries(n)
    history, asked = draw(user, config, np.random.default_rng(seed))
    assert 1 <= len(history) <= 10
    assert 1 <= len(asked) <= targets
    ids = [entry.item_id for entry in history]
    assert not set(ids) & {entry.item_id for entry in asked}
    places = [int(item[1:]) for item in ids]
    assert places == sorted(places)
    if random_share == 0.0:
        assert max(places) < min(int(entry.item_id[1:]) for entry in asked)
    assert all(entry in user for entry in [*history, *asked])


def test_drop_ratings_hides_the_rating_and_keeps_the_flag() -> None:
    history, asked = draw(entries(12), SamplingConfig(drop_ratings=1.0), np.random.default_rng(0))
    assert all(entry.rating is None for entry in history)
    assert all(entry.rating is not None for entry in asked)
    assert [entry.liked for entry in history] == [int(entry.item_id[1:]) % 2 == 0 for entry in history]


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
    source = PromptSource([prompt(index) for index in range(n)], batch, seed=1, row_tokens=64)
    seen = [tree.branches[0][2] - 3 for step in range(n) for tree in source.batch(step)]
    for epoch in range(batch):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_batches_are_a_function_of_the_step() -> None:
    source = PromptSource([prompt(index) for index in range(30)], 8, seed=1, row_tokens=64)
    assert source.batch(5) == source.batch(5)
    other = PromptSource([prompt(index) for index in range(30)], 8, seed=2, row_tokens=64)
    assert source.batch(0) != other.batch(0)


def test_no_prompts_is_an_error() -> None:
    with pytest.raises(DataError, match="no prompts"):
        PromptSource([], 8, seed=1, row_tokens=64)


def test_k_shot_is_seeded_nested_and_bounded() -> None:
    samples = [Sample(f"s{index}", "u", "i", index % 2, ()) for index in range(40)]
    small, large = choose_shots(samples, 8, 3), choose_shots(samples, 16, 3)
    assert choose_shots(samples, 8, 3) == small
    assert choose_shots(samples, 8, 4) != small
    assert set(small) <= set(large)
    assert choose_shots(samples, None, 3) == samples
    with pytest.raises(DataError, match="K = 41"):
        choose_shots(samples, 41, 0)


def test_holdout_does_not_depend_on_the_order_of_users() -> None:
    users = [f"u{index}" for index in range(50)]
    held = holdout_users(users, 0.1, 7)
    assert len(held) == 5
    assert holdout_users(users[::-1] * 2, 0.1, 7) == held
    assert len(holdout_users(["a", "b"], 0.01, 7)) == 1
