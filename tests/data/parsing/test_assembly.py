"""Repeated, timeless and unknown rows leave; accounts close."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.interactions import with_codes
from recalign.data.parsing.accounting import FileAccount, FileTally
from recalign.data.parsing.assembly import DUPLICATE, NO_TIME, SUPERSEDED, UNKNOWN_ITEM, SourceBuilder, drop_repeats
from recalign.data.source import SourceData
from recalign.errors import DataError

Row = tuple[str, str, float | None, int | None]
SCHEMA = {"user_id": pl.String(), "item_id": pl.String(), "rating": pl.Float64(), "timestamp": pl.Int64()}


def build(rows: list[Row], items: list[str]) -> SourceData:
    builder = SourceBuilder()
    tally = builder.file(Path("ratings.csv"))
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_row_index("line", offset=1)
    frame = frame.with_columns(pl.col("line").cast(pl.Int64), pl.lit(1, pl.Int64).alias("lines"))
    tally.count_lines(frame.height)
    tally.accept(frame)
    builder.add_ratings(frame, tally)
    titles = pl.DataFrame({"item_id": items, "title": items}, schema={"item_id": pl.String(), "title": pl.String()})
    return builder.build("none", titles)


def left(rows: list[Row]) -> list[Row]:
    return drop_repeats(with_codes(pl.DataFrame(rows, schema=SCHEMA, orient="row")))[0].rows()


def test_an_account_that_loses_a_line_is_refused() -> None:
    assert FileAccount("f", 4, 2, 1, header=1).parsed == 2
    for numbers in ((4, 2, 1), (4, 5, -1), (3, 2, 2)):
        with pytest.raises(ValueError, match="lines lost"):
            FileAccount("f", *numbers)


def test_a_row_entered_twice_is_noticed() -> None:
    builder = SourceBuilder()
    tally: FileTally = builder.file(Path("f"))
    rows = pl.DataFrame({"line": [1], "lines": [1], "reason": ["r"], "text": ["t"]})
    tally.count_lines(1)
    tally.accept(rows)
    tally.reject(rows)
    with pytest.raises(ValueError, match="lines lost"):
        tally.account()


def test_the_latest_row_of_a_pair_stays() -> None:
    rows: list[Row] = [("u", "a", 5.0, 20), ("u", "b", 1.0, 1), ("u", "a", 2.0, 10), ("v", "a", 3.0, 5)]
    assert left(rows) == [("u", "a", 5.0, 20), ("u", "b", 1.0, 1), ("v", "a", 3.0, 5)]


def test_without_times_the_last_row_stays() -> None:
    rows: list[Row] = [("u", "a", 5.0, None), ("u", "a", 3.0, None), ("u", "b", 1.0, None), ("u", "a", 5.0, None)]
    assert left(rows) == [("u", "b", 1.0, None), ("u", "a", 5.0, None)]


def test_implicit_events_repeat_too() -> None:
    assert left([("u", "a", None, 1), ("u", "a", None, 2), ("u", "a", None, None)]) == [("u", "a", None, 2)]


def test_reasons_and_accounts_of_rows_that_leave() -> None:
    data = build(
        [
            *[("u", "a", 5.0, 9), ("u", "a", 5.0, 9), ("u", "a", 4.0, 8), ("u", "x", 1.0, 1), ("u", "b", 1.0, None)],
            ("u", "b", 2.0, 3),
        ],
        ["a", "b"],
    )
    assert data.rejects.counts() == {DUPLICATE: 1, NO_TIME: 1, SUPERSEDED: 1, UNKNOWN_ITEM: 1}
    assert data.accounts == (FileAccount("ratings.csv", 6, 2, 4),)
    assert data.interactions.rows() == [("u", "a", 5.0, 9, 0), ("u", "b", 2.0, 3, 1)]
    assert data.rejects.frame().filter(line=4)["text"].item() == "u,x,1.0,1"


def test_nothing_left_names_the_reasons() -> None:
    with pytest.raises(DataError, match=r"unknown item \(2\)"):
        build([("u", "x", 1.0, 1), ("v", "x", 1.0, 1)], ["a"])
    with pytest.raises(DataError, match="no row below the header"):
        build([], ["a"])


ROWS = st.lists(
    st.tuples(st.sampled_from("uv"), st.sampled_from("abx"), st.sampled_from([1.0, 2.0]), st.integers(1, 3)), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, random=st.randoms(use_true_random=False))
def test_what_stays_does_not_depend_on_the_order_of_the_file(rows: list[Row], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(left(rows), key=str) == sorted(left(shuffled), key=str)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_pairs_are_unique_and_every_row_is_somewhere(rows: list[Row]) -> None:
    frame = with_codes(pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    staying, leaving = drop_repeats(frame)
    assert staying.height + leaving.height == frame.height
    assert not staying.select("user_id", "item_id").is_duplicated().any()
    newest = frame.group_by("user_id", "item_id").agg(pl.col("timestamp").max())
    assert staying.join(newest, on=["user_id", "item_id", "timestamp"]).height == newest.height
