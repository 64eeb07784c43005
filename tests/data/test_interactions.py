"""The table of interactions: checks, canonical order, repeats."""

from __future__ import annotations

import polars as pl
import pytest

from recalign.data.interactions import canonical, check_interactions, natural_order, without_repeats
from recalign.data.schema import INTERACTIONS
from recalign.errors import DataError

Row = tuple[str, str, float | None, int | None, int]


def table(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(INTERACTIONS), orient="row")


def test_integer_like_ids_sort_as_numbers_before_all_others() -> None:
    ids = pl.DataFrame({"id": ["b", "10", "9", "a", "09", "-1"]})
    assert ids.sort(natural_order("id"))["id"].to_list() == ["-1", "09", "9", "10", "a", "b"]


def test_canonical_order_is_user_time_item_rating() -> None:
    rows = table(
        ("2", "1", 1, 5, 0), ("10", "1", 1, 1, 1), ("2", "1", 1, 4, 2), ("2", "9", 3, 4, 3), ("2", "10", 3, 4, 4)
    )
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    assert canonical(shuffled)["order"].to_list() == [2, 3, 4, 0, 1]


def test_without_repeats_keeps_the_first_by_time_or_by_file() -> None:
    rows = table(("u", "a", 5, 30, 0), ("u", "a", 1, 10, 1), ("u", "b", 3, 20, 2), ("v", "a", 2, 99, 3))
    assert sorted(without_repeats(rows)["order"]) == [1, 2, 3]
    assert sorted(without_repeats(rows, by_file=True)["order"]) == [0, 2, 3]


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
