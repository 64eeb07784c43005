"""Sample ids: the same for the same target, different for different ones, 16 digits."""

from __future__ import annotations

import hashlib
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.sample_ids import hexadecimal, mix, text_hashes, with_sample_ids
from recalign.errors import DataError

MASK = 2**64 - 1
names = st.text(min_size=1, max_size=5)


def mixed(value: int) -> int:
    """SplitMix64 by hand, in whole numbers without a limit."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def test_splitmix64_gives_its_published_first_numbers() -> None:
    # The generator's state starts at 1234567 and grows by the constant that `mix` adds.
    states = pl.Series([1234567, 1234567 + 0x9E3779B97F4A7C15], dtype=pl.UInt64).to_numpy()
    assert mix(states).tolist() == [6457827717110365317, 3203168211198807973]


@settings(deadline=None)
@given(st.lists(st.tuples(names, names, st.integers(0, 2**40)), min_size=1, max_size=8, unique=True))
def test_ids_are_the_documented_hash_and_depend_on_their_row_alone(rows: list[tuple[str, str, int]]) -> None:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    ids = with_sample_ids(frame, "temporal")["sample_id"].to_list()
    start = hashed("temporal")
    expected = [mixed(mixed(mixed(start ^ hashed(user)) ^ hashed(item)) ^ place) for user, item, place in rows]
    assert ids == [f"{value:016x}" for value in expected]
    assert with_sample_ids(frame[::-1], "temporal")["sample_id"].to_list() == ids[::-1]
    assert with_sample_ids(frame[:1], "temporal")["sample_id"].to_list() == ids[:1]


def test_ids_stay_what_they_are() -> None:
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "a"], "position": [1, 2]})
    ids = with_sample_ids(frame, "temporal")["sample_id"].to_list()
    assert ids == ["01d79d56713d12b8", "853f4baefa1d7ec4"]
    assert with_sample_ids(frame, "other")["sample_id"].to_list() != ids
    assert text_hashes(["u"])[0] == hashed("u")


def test_a_repeated_id_is_refused() -> None:
    frame = pl.DataFrame({"user_id": ["u", "v", "u"], "item_id": ["a", "a", "a"], "position": [1, 1, 1]})
    with pytest.raises(
        DataError, match=r"same user, item and position; found 1 repeated sample ids, the first is \w{16};"
    ):
        with_sample_ids(frame, "temporal")


@settings(deadline=None)
@given(st.lists(st.integers(0, MASK)))
def test_hexadecimal(values: list[int]) -> None:
    texts = hexadecimal(pl.Series("id", values, dtype=pl.UInt64)).to_list()
    assert texts == [f"{value:016x}" for value in values]
    assert all(re.fullmatch("[0-9a-f]{16}", text) for text in texts)
