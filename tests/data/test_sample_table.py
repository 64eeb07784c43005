"""Histories as ranges: the same entries as whole lists, each kept once; and the files that they are written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data import sample_table
from recalign.data.feedback import FeedbackConfig
from recalign.data.readers.synthetic import generate
from recalign.data.sample_table import (
    SampleTable,
    history_ranges,
    trimmed,
    with_histories,
    write_samples,
)
from recalign.data.schema import EVENTS, SAMPLES, STORED_SAMPLES
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.data.stored_samples import StoredSamples
from recalign.errors import DataError


def rows(*entries: tuple[str, str, bool, bool]) -> pl.DataFrame:
    """(user, item, liked, negative) in order."""
    frame = pl.DataFrame(list(entries), schema=["user_id", "item_id", "liked", "negative"], orient="row")
    return frame.with_columns(rating=pl.lit(None, pl.Float64), timestamp=pl.lit(None, pl.Int64))


def ranges(frame: pl.DataFrame, **changes: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    return history_ranges(frame, **{"max_history": 10, "min_history": 1, "negatives_in_history": False, **changes})


def built(frame: pl.DataFrame, **changes: Any) -> dict[tuple[str, str], list[str]]:
    """Items of the history by (user, target), through the ranges."""
    samples, events = ranges(frame, **changes)
    whole = with_histories(
        samples.with_columns(sample_id=pl.lit("s"), split=pl.lit("train")),
        events.cast(EVENTS),  # type: ignore[arg-type]
    )
    histories = [[entry["item_id"] for entry in history] for history in whole["history"].to_list()]
    return dict(zip(zip(whole["user_id"], whole["item_id"], strict=True), histories, strict=True))


SEQUENCE = rows(
    *(("u", item, item in "ac", False) for item in "abcd"), ("v", "a", True, False), ("v", "b", True, False)
)


def test_a_history_is_what_the_same_user_did_before() -> None:
    assert built(SEQUENCE) == {
        ("u", "b"): ["a"],
        ("u", "c"): ["a", "b"],
        ("u", "d"): ["a", "b", "c"],
        ("v", "b"): ["a"],
    }


def test_the_window_keeps_the_newest_and_min_history_counts_before_it() -> None:
    assert built(SEQUENCE, max_history=2, min_history=3) == {("u", "d"): ["b", "c"]}
    assert built(SEQUENCE, min_history=9) == {}


def test_negatives_share_the_history_of_their_positive() -> None:
    frame = rows(
        *(("u", item, not negative, bool(negative)) for item, negative in zip("aXbYc", [0, 1, 0, 1, 0], strict=True))
    )
    assert built(frame) == {("u", "b"): ["a"], ("u", "Y"): ["a"], ("u", "c"): ["a", "b"]}
    shown = built(frame, negatives_in_history=True)
    assert shown == {("u", "b"): ["a", "X"], ("u", "Y"): ["a", "X"], ("u", "c"): ["a", "X", "b", "Y"]}


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 3))
def test_histories_match_a_plain_loop(lengths: list[int], max_history: int, min_history: int) -> None:
    entries = [(f"u{user}", f"i{place}", place % 2 == 0, False) for user, n in enumerate(lengths) for place in range(n)]
    expected = {
        (f"u{user}", f"i{place}"): [f"i{earlier}" for earlier in range(place)][-max_history:]
        for user, n in enumerate(lengths)
        for place in range(n)
        if place >= min_history
    }
    assert built(rows(*entries), max_history=max_history, min_history=min_history) == expected


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4), st.data())
def test_trimming_keeps_whole_pasts_and_changes_no_history(
    lengths: list[int], max_history: int, data: st.DataObject
) -> None:
    entries = [(f"u{user}", f"i{place}", place % 3 == 0, False) for user, n in enumerate(lengths) for place in range(n)]
    samples, events = ranges(rows(*entries), max_history=max_history)
    samples = samples.with_columns(sample_id=pl.lit("s"), split=pl.lit("train"))
    some = samples.filter(pl.Series([data.draw(st.booleans()) for _ in range(len(samples))], dtype=pl.Boolean))
    fewer, kept = trimmed(some, events)
    assert with_histories(fewer, kept).equals(with_histories(some, events))
    last = some.group_by("user_id").agg(pl.col("position").max())["position"]
    assert len(kept) == last.sum(), "all that comes before the last target of a user, and nothing else"
    pasts = with_histories(fewer.with_columns(history_length="past_length"), kept)["history"].to_list()
    for position, past in zip(fewer["position"], pasts, strict=True):
        assert [entry["item_id"] for entry in past] == [f"i{earlier}" for earlier in range(position)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_a_past_has_the_negatives_that_its_history_has(lengths: list[int], shown: bool) -> None:
    entries = [
        (f"u{user}", f"{kind}{place}", kind == "i", kind == "n")
        for user, n in enumerate(lengths) for place in range(n) for kind in "in"
    ]  # fmt: skip
    samples, events = ranges(rows(*entries), max_history=1, negatives_in_history=shown)
    last, kept = trimmed(samples.filter(pl.col("position") == pl.col("position").max().over("user_id")), events)
    for user, position, end, past in last.select("user_id", "position", "history_end", "past_length").iter_rows():
        found = kept[end - past : end].select("user_id", "item_id").rows()
        assert found == [(user, f"{kind}{place}") for place in range(position) for kind in ("in" if shown else "i")]


entries = st.lists(
    st.fixed_dictionaries(
        {
            "item_id": st.sampled_from(["10", "9", "x"]),
            "liked": st.booleans(),
            "rating": st.none() | st.integers(0, 9).map(lambda half: half / 2),
        }
    ),
    max_size=4,
)
samples = st.tuples(st.sampled_from(["train", "valid", "test"]), st.sampled_from(["2", "10", "y"]), entries)


@settings(deadline=None)
@given(st.lists(samples, max_size=8))
def test_whole_histories_come_back(drawn: list[Any]) -> None:
    table = pl.DataFrame(
        [(f"s{at}", split, user, "9", 1, None, at, its) for at, (split, user, its) in enumerate(drawn)],
        schema=dict(SAMPLES),
        orient="row",
    )
    ranged = SampleTable.from_frame(table)
    assert ranged.frame().equals(table)
    assert len(ranged.events) == sum(len(its) for _, _, its in drawn)
    assert ranged.frame(ranged.split("valid")).equals(table.filter(pl.col("split") == "valid"))


@pytest.mark.parametrize(("end", "length"), [(2, 1), (1, 2), (1, -1)])
def test_a_range_outside_of_the_events_is_refused(end: int, length: int) -> None:
    samples, events = ranges(rows(("u", "a", True, False), ("u", "b", True, False)))
    broken = samples.with_columns(
        pl.Series("history_end", [end], pl.Int64), pl.Series("history_length", [length], pl.Int32)
    )
    with pytest.raises(DataError, match="a range outside of the events; expected 0 to 1"):
        with_histories(broken, events[:1])


LIKE = FeedbackConfig(like_above=3)


@pytest.fixture(scope="module")
def table() -> SampleTable:
    source = generate("movies", users=30, items=60, ratings_per_user=12, seed=4)
    protocol = resolve_protocol("leave-one-out", source.interactions)
    return make_table(source.interactions, protocol, plan(protocol, SplitConfig(max_history=4), LIKE), LIKE)


@pytest.mark.parametrize("group", [7, 1_000_000])
def test_tables_come_back(table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(sample_table, "GROUP_ROWS", group)
    write_samples(tmp_path, table)
    assert pl.read_parquet_schema(tmp_path / "samples.parquet") == STORED_SAMPLES
    assert pl.read_parquet_schema(tmp_path / "events.parquet") == EVENTS
    stored = StoredSamples(tmp_path)
    assert stored.frame().equals(table.frame())
    for split in ("train", "valid", "test"):
        assert stored.frame(split).equals(table.frame(table.split(split)))
        assert stored.counts()[split] == len(table.split(split))
    whole = dict(
        zip(table.samples["sample_id"], table.samples["past_length"] - table.samples["history_length"], strict=True)
    )
    assert {name: len(part) for name, part in stored.earlier().items()} == {
        f"{key:016x}": n for key, n in whole.items()
    }
    again = stored.table()
    assert again.frame().equals(table.frame())
    assert again.events.cast(EVENTS).equals(table.events.cast(EVENTS))  # type: ignore[arg-type]


def test_an_entry_is_stored_once(table: SampleTable, tmp_path: Path) -> None:
    write_samples(tmp_path, table)
    events = pl.read_parquet(tmp_path / "events.parquet")
    assert events.select("user_id", "item_id").n_unique() == len(events)
    assert int(table.samples["history_length"].sum()) > 3 * len(events)


def test_no_sample_is_a_table_too(table: SampleTable, tmp_path: Path) -> None:
    write_samples(tmp_path, SampleTable(table.samples.clear(), table.events.clear()))
    assert StoredSamples(tmp_path).frame().is_empty()
    assert StoredSamples(tmp_path).counts() == {"train": 0, "valid": 0, "test": 0}


def test_files_that_are_no_tables_of_samples_are_named(table: SampleTable, tmp_path: Path) -> None:
    write_samples(tmp_path, table)
    (tmp_path / "events.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot read .*events\.parquet"):
        StoredSamples(tmp_path)
    (tmp_path / "events.parquet").unlink()
    with pytest.raises(DataError, match=r"cannot read .*events\.parquet"):
        StoredSamples(tmp_path)
