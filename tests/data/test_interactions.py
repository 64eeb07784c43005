"""The table of interactions: checks, canonical order, repeats."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.interactions import (
    canonical,
    check_interactions,
    user_blocks,
    with_codes,
    without_repeats,
)
from recalign.data.schema import INTERACTIONS
from recalign.errors import DataError

Row = tuple[str, str, float | None, int | None, int]


def table(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(INTERACTIONS), orient="row")


def test_canonical_order_is_user_time_rating() -> None:
    rows = table(
        *(("2", "1", 1, 5, 0), ("10", "1", 1, -1, 1), ("2", "1", 1, -4, 2), ("2", "9", 3, 4, 3), ("2", "9", 2, 4, 4)),
        *(("2", "7", 3, None, 5), ("2", "9", None, 4, 6)),
    )
    shuffled = with_codes(rows.sample(fraction=1, shuffle=True, seed=3))
    assert canonical(shuffled)["order"].to_list() == [2, 4, 3, 6, 0, 5, 1]


@pytest.mark.parametrize("scale", [1, 2**40, 2**61])
@given(st.permutations(range(24)), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_canonical_order_does_not_depend_on_the_order_of_the_rows(scale: int, places: list[int], seed: int) -> None:
    rows = table(*((str(n % 2), str(n), float(n % 5), n % 4 // 2 * scale, n) for n in range(24)))
    assert canonical(with_codes(rows[places]), seed).equals(canonical(with_codes(rows), seed))


def test_ties_are_ordered_by_seed_and_not_by_the_size_of_an_id() -> None:
    """Every user has the items 1 to 9 on one day, so their order is drawn: each comes last for a ninth of the users."""
    rows = with_codes(table(*((f"u{user}", str(item), 1.0, 7, 0) for user in range(900) for item in range(1, 10))))
    last = [
        canonical(rows, seed).group_by("user_id", maintain_order=True).last()["item_id"].cast(pl.String)
        for seed in (0, 1)
    ]
    counts = last[0].value_counts()
    assert len(counts) == 9
    assert counts["count"].min() > 65
    assert counts["count"].max() < 135
    assert 60 < int((last[0] == last[1]).sum()) < 140  # another seed is another draw


def test_without_repeats_keeps_the_first_by_time_or_by_file() -> None:
    rows = table(("u", "a", 5, 30, 0), ("u", "a", 1, 10, 1), ("u", "b", 3, 20, 2), ("v", "a", 2, 99, 3))
    assert sorted(without_repeats(with_codes(rows))["order"]) == [1, 2, 3]
    assert sorted(without_repeats(with_codes(rows), by_file=True)["order"]) == [0, 2, 3]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table(), "no interactions"),
        (table(("u", "a", 1.0, 1, 0)).drop("rating"), "'rating'; found no such column; expected Float64"),
        (table(("u", "a", 1.0, 1, 0)).cast({"user_id": pl.Categorical}), "'user_id'; found Categorical"),
        (table(("u", "a", float("nan"), 1, 0)), "1 infinite values or NaN"),
        (table(("u", "a", 1.0, 1, 0)).with_columns(item_id=pl.lit(None, pl.String)), "'item_id'; found 1 empty"),
    ],
)
def test_a_broken_table_is_named(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_interactions(frame)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "10", "x", "y"]), max_size=30), st.integers(1, 12))
def test_blocks_hold_whole_users_in_natural_order(users: list[str], rows: int) -> None:
    frame = with_codes(table(*((user, "i", 1.0, None, place) for place, user in enumerate(users))))
    blocks = list(user_blocks(frame, rows))
    assert sorted(place for block in blocks for place in block["order"]) == list(range(len(users)))
    sets = [set(block["user_id"]) for block in blocks]
    assert sum(map(len, sets)) == len(set(users))
    in_blocks = [user for block in blocks for user in block["user_id"].unique().sort()]
    assert in_blocks == [user for user in ("1", "2", "10", "x", "y") if user in users]
    for block in blocks:
        assert block["order"].is_sorted()
        assert len(block) <= rows - 1 + max((users.count(user) for user in set(block["user_id"])), default=1)


def test_codes_know_the_catalogue_and_stay_where_they_do() -> None:
    coded = with_codes(table(("u", "10", 1.0, None, 0)), ["9", "11"])
    assert coded.schema["item_id"] == pl.Enum(["9", "10", "11"])
    assert with_codes(coded, ["9"]).schema == coded.schema
    assert with_codes(coded, ["8"]).schema["item_id"] == pl.Enum(["8", "10"])
    assert check_interactions(coded) is None
