"""Ids as codes."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.codes import codes, encode, into_enum, knows, names, natural_enum, natural_order, pair_keys, repeated

ids = st.sampled_from(["9", "10", "09", "x", "-1", "1e3", ""])


def test_integer_like_ids_sort_as_numbers_before_all_others() -> None:
    frame = pl.DataFrame({"id": ["b", "10", "9", "a", "09", "-1"]})
    assert frame.sort(natural_order("id"))["id"].to_list() == ["-1", "09", "9", "10", "a", "b"]


@settings(deadline=None)
@given(st.lists(ids), st.lists(ids), st.booleans())
def test_codes_keep_the_ids_and_sort_in_natural_order(first: list[str], second: list[str], categorical: bool) -> None:
    kind = pl.Categorical(pl.Categories.random("test", pl.UInt32)) if categorical else pl.String()
    columns = [pl.Series("a", first, dtype=kind), pl.Series("b", second, dtype=kind)]
    one, two = encode(columns, ["more"])
    assert (one.to_list(), two.to_list()) == (first, second)
    assert one.dtype == two.dtype
    assert set(names(one)) == {*first, *second, "more"}
    assert (
        one.sort().to_list()
        == pl.DataFrame({"id": first}, schema={"id": pl.String}).sort(natural_order("id"))["id"].to_list()
    )
    assert names(one).gather(codes(one)).to_list() == first


@settings(deadline=None)
@given(st.lists(st.none() | ids), st.booleans())
def test_unknown_ids_become_null(values: list[str | None], categorical: bool) -> None:
    kind = pl.Categorical(pl.Categories.random("test", pl.UInt32)) if categorical else pl.String()
    coded = into_enum(pl.Series("a", values, dtype=kind), natural_enum(["9", "10"]))
    assert coded.to_list() == [value if value in ("9", "10") else None for value in values]
    assert coded.name == "a"


def test_only_an_enum_in_natural_order_that_has_the_ids_knows_them() -> None:
    wanted = pl.Series(["9"])
    assert knows(natural_enum(["10", "9"]), wanted)
    assert not knows(pl.Enum(["10", "9"]), wanted)
    assert not knows(natural_enum(["10"]), wanted)
    assert not knows(pl.String(), wanted)


def test_pairs_become_one_number_and_repeats_are_found() -> None:
    users, items = encode([pl.Series(["u", "v", "u", "u"])])[0], encode([pl.Series(["a", "a", "b", "a"])])[0]
    keys = pair_keys(users, items)
    assert len(np.unique(keys)) == 3
    assert repeated(keys).tolist() == [keys[0]]
    assert repeated(keys[:0]).tolist() == []
