"""Protocols: who becomes a target, with which history, in which split."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data import protocols
from recalign.data.feedback import FeedbackConfig
from recalign.data.protocols import PROTOCOLS
from recalign.data.sample_table import check_samples, write_samples
from recalign.data.samples import split_counts
from recalign.data.schema import INTERACTIONS, SPLITS
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.errors import ConfigError, DataError

LIKE = FeedbackConfig(like_above=3)
Row = tuple[str, str, float, int | None]


def table(*rows: Row) -> pl.DataFrame:
    """(user, item, rating, time) in file order."""
    return pl.DataFrame([(*row, place) for place, row in enumerate(rows)], schema=dict(INTERACTIONS), orient="row")


def prepare(interactions: pl.DataFrame, name: str, feedback: FeedbackConfig = LIKE, **options: Any) -> pl.DataFrame:
    protocol = resolve_protocol(name, interactions)
    items = tuple({str(item) for item in range(40)} | set(interactions["item_id"]))
    steps = plan(protocol, SplitConfig(**options), feedback)
    samples = make_table(interactions, protocol, steps, feedback, item_ids=items).frame()
    check_samples(samples)
    return samples


def targets(samples: pl.DataFrame) -> dict[str, list[str]]:
    """Per split "user:item<history" in order."""
    told = [
        f"{user}:{item}<{''.join(entry['item_id'] for entry in history)}"
        for user, item, history in samples.select("user_id", "item_id", "history").iter_rows()
    ]
    return {split: [one for one, its in zip(told, samples["split"], strict=True) if its == split] for split in SPLITS}


@st.composite
def interactions(draw: st.DrawFn) -> pl.DataFrame:
    """Few users, items and times, so that ties and repeats are common."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["1", "2", "10", "x"]),
                st.integers(0, 11).map(str),
                st.integers(0, 10),
                st.integers(0, 6),
            ),
            min_size=8,
            max_size=50,
            unique_by=lambda row: row[:2],
        )
    )
    return table(*((user, item, half / 2, time) for user, item, half, time in rows))


TALLREC = table(
    ("b", "1", 5, 10), ("a", "2", 1, 30), ("b", "3", 2, 5), ("a", "4", 5, 20), ("b", "5", 4, 10), ("a", "6", 4, 20),
    ("b", "7", 1, 11), ("a", "8", 3, 40),
)  # fmt: skip


def test_tallrec_movie_slides_full_windows_over_users_by_first_appearance() -> None:
    samples = prepare(TALLREC, "tallrec", max_history=2, split=(2, 1, 1))
    assert targets(samples) == {"train": ["b:5<31", "b:7<15"], "valid": ["a:2<46"], "test": ["a:8<62"]}
    assert samples["label"].to_list() == [1, 0, 0, 0]
    assert samples["history"][0].to_list() == [
        {"item_id": "3", "liked": False, "rating": 2.0},
        {"item_id": "1", "liked": True, "rating": 5.0},
    ]


def test_tallrec_movie_keeps_the_last_ten_thousand_and_cuts_them_consecutively() -> None:
    rows = table(*((str(user), str(item), 4, item) for user in range(110) for item in range(102)))
    samples = prepare(rows, "tallrec", max_history=1)
    assert [counts["samples"] for counts in split_counts(samples).values()] == [8000, 1000, 1000]
    everything = prepare(rows[:102], "tallrec", max_history=1)
    assert [counts["samples"] for counts in split_counts(everything).values()] == [80, 10, 11]


def test_tallrec_without_timestamps_takes_one_target_per_user() -> None:
    rows = table(*((str(user), str(item), item, None) for user in range(50) for item in range(2 + user % 3)))
    samples = prepare(rows.with_columns(timestamp=pl.lit(None, pl.Int64)), "tallrec")
    assert samples["user_id"].n_unique() == len(samples) == 16  # more than three items
    assert [counts["users"] for counts in split_counts(samples).values()] == [12, 2, 2]
    assert samples["history"].list.len().unique().to_list() == [3]
    items = [
        {entry["item_id"] for entry in history} | {target}
        for target, history in samples.select("item_id", "history").iter_rows()
    ]
    assert all(each == {"0", "1", "2", "3"} for each in items)
    assert samples["item_id"].n_unique() > 1


def test_explicit_only_drops_zeros_before_it_counts() -> None:
    rows = table(
        *(("u", str(item), item, None) for item in range(5)), *(("v", str(item), 0, None) for item in range(9))
    )
    samples = prepare(rows, "explicit-only", FeedbackConfig(like_above=5))
    assert samples["user_id"].to_list() == ["u"]
    assert len(prepare(rows, "tallrec-book", FeedbackConfig(like_above=5))) == 2


def test_temporal_is_one_order_with_ties_on_one_side() -> None:
    rows = table(
        ("b", "1", 5, 1), ("a", "2", 1, 1), ("a", "9", 5, 2), ("a", "10", 5, 2), ("b", "3", 2, 2), ("b", "4", 2, 3),
        ("b", "5", 2, 9), ("a", "3", 5, 9),
    )  # fmt: skip
    orders = [targets(prepare(rows, "temporal", split=(1, 1, 1), order_seed=seed)) for seed in range(8)]
    one = {"train": ["a:9<2", "a:10<29", "b:3<1"], "valid": ["b:4<13"], "test": ["a:3<2910", "b:5<134"]}
    other = {"train": ["a:10<2", "a:9<210", "b:3<1"], "valid": ["b:4<13"], "test": ["a:3<2109", "b:5<134"]}
    assert one in orders
    assert other in orders
    assert all(order in (one, other) for order in orders)


def test_a_cut_in_the_middle_of_one_time_goes_before_all_of_it() -> None:
    rows = table(*(("abcdef"[place], str(item), 4, time) for place in range(6) for item, time in ((0, 0), (1, place))))
    tied = rows.with_columns(timestamp=pl.Series([0, 1, 0, 2, 0, 2, 0, 2, 0, 2, 0, 3]))
    samples = prepare(tied, "temporal", split=(1, 1, 0))
    # Six targets at the times 1, 2, 2, 2, 2, 3: the cut at three has two of time 2 on either side.
    assert samples["timestamp"].to_list() == [1, 2, 2, 2, 2, 3]
    assert samples["split"].to_list() == ["train"] + ["valid"] * 5


def test_leave_one_out_tests_the_last_and_validates_the_one_before() -> None:
    rows = table(
        ("u", "3", 1, 3), ("u", "1", 5, 1), ("u", "2", 5, 2), ("u", "4", 4, 4), ("v", "1", 5, 1), ("v", "2", 5, 2)
    )
    samples = prepare(rows, "leave-one-out")
    assert targets(samples) == {"train": ["u:2<1"], "valid": ["u:3<12"], "test": ["u:4<123", "v:2<1"]}
    assert targets(prepare(rows, "leave-one-out", min_history=2, max_history=2)) == {
        "train": [], "valid": ["u:3<12"], "test": ["u:4<23"],
    }  # fmt: skip


def test_leave_n_out_holds_out_blocks_that_share_the_history_before_them() -> None:
    rows = table(
        *(("u", str(item), item % 5 + 1, item) for item in range(7)),
        *(("v", str(item), 4, item) for item in range(4)),  # too short for a valid block: what is left trains
        *(("w", str(item), 4, item) for item in range(2)),  # too short for any: only trains
    )
    assert targets(prepare(rows, "leave-n-out", holdout=2)) == {
        "train": ["u:1<0", "u:2<01", "v:1<0", "w:1<0"],
        "valid": ["u:3<012", "u:4<012"],
        "test": ["u:5<01234", "u:6<01234", "v:2<01", "v:3<01"],
    }
    short = prepare(rows, "leave-n-out", holdout=2, max_history=2, min_history=2)
    assert targets(short)["test"] == ["u:5<34", "u:6<34", "v:2<01", "v:3<01"]
    assert targets(short)["valid"] == ["u:3<12", "u:4<12"]


def test_the_past_of_a_block_is_what_comes_before_it() -> None:
    rows = table(*(("u", str(item), 4, item) for item in range(9)))
    protocol = PROTOCOLS["leave-n-out"]
    made = make_table(rows, protocol, plan(protocol, SplitConfig(holdout=2, max_history=3), LIKE), LIKE)
    lengths = made.samples.select("split", "past_length", "history_length").unique(maintain_order=True).rows()
    assert lengths == [*(("train", n, min(n, 3)) for n in range(1, 5)), ("valid", 5, 3), ("test", 7, 3)]


def test_leave_n_out_of_one_is_leave_one_out() -> None:
    rows = table(*((str(user), str(item), item % 5 + 1, item // 2) for user in range(9) for item in range(user)))
    one, other = (
        prepare(rows, name, **more) for name, more in (("leave-one-out", {}), ("leave-n-out", {"holdout": 1}))
    )
    assert targets(one) == targets(other)


def test_leave_n_out_with_sampled_negatives_keeps_the_history_of_the_block() -> None:
    rows = table(*(("u", str(item), 1.0, item) for item in range(9)))
    implicit = FeedbackConfig(kind="implicit", negatives=2, negatives_in_history=True)
    samples = prepare(rows, "leave-n-out", implicit, holdout=3, max_history=50)
    for split, events in (("valid", 3), ("test", 6)):
        part = samples.filter(split=split)
        assert part["label"].to_list() == [1, 0, 0] * 3
        assert part["history"].list.len().to_list() == [events * 3] * 9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "leave-one-out",
            {"holdout": 3},
            "leave-one-out holds out no block; found holdout 3; expected protocol",
        ),
        ("tallrec-movie", {"order_seed": 1}, "tallrec-movie, order time; found order seed 1; expected no order seed"),
        ("leave-one-out", {"order_seed": 1, "order": "file"}, "order file; found order seed 1"),
        ("leave-n-out", {"split": (8, 1, 1)}, "leave-n-out has no proportions"),
    ],
)
def test_what_a_protocol_has_no_use_for_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(PROTOCOLS[name], SplitConfig(**options), LIKE)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.integers(0, 10**9), st.integers(0, 10**9), min_size=8, max_size=8),
    st.sampled_from(["temporal", "leave-one-out", "leave-n-out"]),
    st.randoms(use_true_random=False),
)
def test_renaming_ids_and_permuting_rows_change_no_split(
    names: dict[int, int], protocol: str, random: random.Random
) -> None:
    """With distinct times; which of two events at one time comes first is drawn from their names."""
    old = [(str(user), f"{item}", 1 + (user * item) % 5, user + 40 * item) for user in range(8) for item in range(9)]
    user_names = dict(zip(map(str, range(8)), (f"{key}x" for key in names), strict=True))
    item_names = {str(item): str(10**6 - 7 * item) for item in range(9)}
    new = [(user_names[user], item_names[item], rating, time) for user, item, rating, time in old]
    random.shuffle(new)
    options = {"holdout": 3} if protocol == "leave-n-out" else {}
    before, after = (prepare(table(*rows), protocol, **options) for rows in (old, new))
    renamed = [(user_names[user], item_names[item], *rest) for user, item, *rest in _described(before)]
    assert sorted(renamed) == sorted(_described(after))


def _described(samples: pl.DataFrame) -> list[tuple[Any, ...]]:
    """User, item, split, label, and the likes of the history."""
    columns = (samples[name] for name in ("user_id", "item_id", "split", "label"))
    likes = samples["history"].list.eval(pl.element().struct.field("liked")).to_list()
    return list(zip(*columns, likes, strict=True))


@pytest.mark.parametrize("protocol", ["leave-one-out", "leave-n-out"])
def test_with_days_for_times_the_id_does_not_tell_the_target(protocol: str) -> None:
    """Three items a day and user: the target has the largest id of its day for a third of the users, not for all."""
    rows = table(*((f"u{user}", str(item), 4, item // 3) for user in range(300) for item in range(9)))
    samples = prepare(rows, protocol, **({"holdout": 1} if protocol == "leave-n-out" else {}))
    test = samples.filter(split="test")
    assert len(test) == 300
    assert 70 < (test["item_id"] == "8").sum() < 130


def test_ties_are_counted_per_split() -> None:
    rows = table(*((user, str(item), 4, item // 2 if user == "u" else item) for user in "uv" for item in range(6)))
    protocol = PROTOCOLS["leave-one-out"]
    made = make_table(rows, protocol, plan(protocol, SplitConfig(), LIKE), LIKE)
    assert made.ties == {"train": 3, "valid": 1, "test": 1}
    by_file = make_table(rows, protocol, plan(protocol, SplitConfig(order="file"), LIKE), LIKE)
    assert by_file.ties == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 400), min_size=12, max_size=40, unique=True),
    st.sampled_from(["tallrec-book", "explicit-only"]),
    st.integers(3, 6),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_folds_test_every_user_once(users: list[int], name: str, folds: int, seed: int, random: Any) -> None:
    entries = [(str(user), str(item), 1 + (user + item) % 5, None) for user in users for item in range(5)]
    parts = [prepare(table(*entries), name, folds=folds, fold=fold, seed=seed) for fold in range(folds)]
    random.shuffle(entries)
    moved = [prepare(table(*entries), name, folds=folds, fold=fold, seed=seed) for fold in range(folds)]
    assert all(one.equals(other) for one, other in zip(parts, moved, strict=True))  # nor does the order of rows matter
    split_users = [{split: set(part.filter(split=split)["user_id"]) for split in SPLITS} for part in parts]
    tested = [user for each in split_users for user in each["test"]]
    assert sorted(tested) == sorted(map(str, users))
    sizes = [len(each["test"]) for each in split_users]
    assert max(sizes) - min(sizes) <= 1
    for fold, each in enumerate(split_users):
        assert each["valid"] == split_users[(fold + 1) % folds]["test"]
        assert each["train"] == set(map(str, users)) - each["test"] - each["valid"]
    whole = parts[0].drop("split").sort("sample_id")
    assert all(part.drop("split").sort("sample_id").equals(whole) for part in parts)  # ids and content are one


def test_folds_do_not_depend_on_the_sample_and_need_their_users() -> None:
    rows = table(*((f"u{user}", str(item), item, item) for user in range(30) for item in range(5)))
    groups = {seed: set(prepare(rows, "tallrec-book", folds=3, seed=seed).filter(split="test")["user_id"])
              for seed in range(3)}  # fmt: skip
    assert len({frozenset(group) for group in groups.values()}) == 3
    by_time = prepare(rows, "tallrec-book", folds=3, seed=1, order="time")
    assert set(by_time.filter(split="test")["user_id"]) == groups[1]
    with pytest.raises(DataError, match="40 folds; found 30 users with samples"):
        prepare(rows, "tallrec-book", folds=40)


def test_a_plan_says_what_cut_the_splits_and_nothing_of_folds_where_there_are_none() -> None:
    protocol = PROTOCOLS["tallrec-book"]
    common = {"window": 10, "min_history": 3, "order": "shuffle", "negatives_in_history": False, "seed": 0}
    assert plan(protocol, SplitConfig(), LIKE).described() == {**common, "ratios": (8, 1, 1)}
    assert plan(protocol, SplitConfig(folds=5, fold=2), LIKE).described() == {**common, "folds": 5, "fold": 2}


def test_a_repeated_interaction_counts_once() -> None:
    rows = table(("u", "1", 5, 1), ("u", "2", 5, 2), ("u", "1", 1, 3), ("u", "3", 5, 4))
    for name in ("temporal", "leave-one-out"):
        assert sorted(prepare(rows, name)["item_id"]) == ["2", "3"]


@settings(max_examples=60, deadline=None)
@given(interactions(), st.sampled_from(sorted(PROTOCOLS)), st.integers(1, 4), st.integers(0, 3))
def test_no_protocol_leaks(rows: pl.DataFrame, name: str, max_history: int, seed: int) -> None:
    options: dict[str, Any] = {"max_history": max_history, "min_history": 1, "seed": seed}
    if name in ("tallrec-book", "explicit-only"):
        options["order"] = "time"
    try:
        samples = prepare(rows, name, **options)
    except DataError as error:
        assert "no target" in str(error) or "no interactions" in str(error)  # noqa: PT017
        return
    known = {(user, item): (rating, time) for user, item, rating, time, _ in rows.iter_rows()}
    for row in samples.iter_rows(named=True):
        rating, time = known[row["user_id"], row["item_id"]]
        assert (row["rating"], row["timestamp"], row["label"]) == (rating, time, int(rating > 3))
        assert 1 <= len(row["history"]) <= max_history
        names = [entry["item_id"] for entry in row["history"]]
        assert len({*names, row["item_id"]}) == len(names) + 1
        times = [known[row["user_id"], item][1] for item in names]
        assert times == sorted(times)
        assert times[-1] <= time
        for entry in row["history"]:
            assert entry["rating"] == known[row["user_id"], entry["item_id"]][0]
            assert entry["liked"] == (entry["rating"] > 3)
    assert samples.select("user_id", "item_id").n_unique() == len(samples)
    if name == "temporal":
        spans = [samples.filter(pl.col("split") == split)["timestamp"] for split in SPLITS]
        filled = [span for span in spans if len(span)]
        assert all(before.max() < after.min() for before, after in pairwise(filled))  # type: ignore[operator]
    if name in ("tallrec-book", "explicit-only"):
        assert samples["user_id"].n_unique() == len(samples)


@settings(max_examples=40, deadline=None)
@given(
    interactions(),
    st.sampled_from(["temporal", "leave-one-out", "tallrec-book", "explicit-only"]),
    st.sampled_from([LIKE, FeedbackConfig(kind="implicit", negatives=2, negatives_in_history=True)]),
    st.integers(0, 99),
)
def test_the_order_of_the_input_does_not_matter(
    rows: pl.DataFrame, name: str, feedback: FeedbackConfig, shuffle: int
) -> None:
    moved = rows.sample(fraction=1, shuffle=True, seed=shuffle).with_columns(order=pl.int_range(pl.len()))
    try:
        expected = prepare(rows, name, feedback)
    except DataError:
        with pytest.raises(DataError):
            prepare(moved, name, feedback)
        return
    assert prepare(moved, name, feedback).equals(expected)


@settings(max_examples=60, deadline=None)
@given(
    interactions(),
    st.sampled_from(sorted(PROTOCOLS)),
    st.sampled_from(["time", "file", "shuffle"]),
    st.sampled_from([LIKE, FeedbackConfig(kind="implicit", negatives=2)]),
    st.integers(1, 20),
)
def test_nothing_depends_on_the_size_of_blocks(
    rows: pl.DataFrame, name: str, order: str, feedback: FeedbackConfig, block_rows: int
) -> None:
    protocol = resolve_protocol(name, rows)
    if order not in protocol.orders:
        return
    steps = plan(protocol, SplitConfig(max_history=3, min_history=1, order=order), feedback)  # type: ignore[arg-type]
    items = tuple(str(item) for item in range(20))
    try:
        whole = make_table(rows, protocol, steps, feedback, item_ids=items)
    except DataError:
        with pytest.raises(DataError):
            make_table(rows, protocol, steps, feedback, item_ids=items, block_rows=block_rows)
        return
    blocks = make_table(rows, protocol, steps, feedback, item_ids=items, block_rows=block_rows)
    assert blocks.samples.equals(whole.samples)
    assert blocks.events.equals(whole.events)


def test_the_size_of_blocks_changes_no_byte_of_the_files(tmp_path: Path) -> None:
    rows = table(*((str(user), str(item % 30), item % 5, item) for user in range(20) for item in range(user, user + 9)))
    protocol = resolve_protocol("leave-one-out", rows)
    for name, size in (("one", 10**6), ("many", 10)):
        (tmp_path / name).mkdir()
        steps = plan(protocol, SplitConfig(), LIKE)
        write_samples(tmp_path / name, make_table(rows, protocol, steps, LIKE, block_rows=size))
    for file in ("samples.parquet", "events.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "many" / file).read_bytes()


@settings(max_examples=40, deadline=None)
@given(interactions(), st.integers(1, 3), st.integers(1, 12))
def test_tallrec_movie_needs_the_last_users_only(rows: pl.DataFrame, max_history: int, recent: int) -> None:
    """The users left out before the work begins are none that the last windows come from."""
    protocol = resolve_protocol("tallrec-movie", rows)
    steps = plan(protocol, SplitConfig(max_history=max_history), LIKE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "RECENT", recent)
        try:
            narrowed = make_table(rows, protocol, steps, LIKE).frame()
            whole = make_table(rows, replace(protocol, narrow=protocols.everything), steps, LIKE).frame()
        except DataError:
            return
    assert narrowed.equals(whole)


@pytest.mark.parametrize("name", ["temporal", "leave-one-out"])
def test_implicit_negatives_are_asked_beside_their_positive(name: str) -> None:
    rows = table(*((user, str(item), 0, 10 * item) for user in "ab" for item in range(5)))
    samples = prepare(rows, name, FeedbackConfig(kind="implicit", negatives=3))
    grouped = samples.group_by("user_id", "timestamp").agg(
        pl.col("split").n_unique(), pl.col("history").n_unique(), pl.col("label").sum(), pl.len()
    )
    assert grouped.select("split", "history", "label", "len").unique().rows() == [(1, 1, 1, 4)]
    assert samples.filter(pl.col("label") == 0)["rating"].null_count() == len(samples) * 3 // 4
    assert all(entry["liked"] for history in samples["history"] for entry in history)


def test_without_timestamps_the_order_must_be_named() -> None:
    rows = table(
        ("u", "3", 4, None), ("u", "1", 4, None), ("u", "2", 4, None), ("v", "1", 4, None), ("v", "5", 4, None)
    )
    with pytest.raises(DataError, match=r"5 of 5 without a timestamp.*Name another order: --order file\."):
        prepare(rows, "temporal")
    with pytest.raises(DataError, match="--order file or --order shuffle"):
        prepare(rows, "leave-one-out")
    assert targets(prepare(rows, "leave-one-out", order="file"))["test"] == ["u:2<31", "v:5<1"]
    assert targets(prepare(rows, "temporal", order="file", split=(2, 0, 1))) == {
        "train": ["u:1<3", "u:2<31"], "valid": [], "test": ["v:5<1"],
    }  # fmt: skip
    drawn = {tuple(targets(prepare(rows, "leave-one-out", order="shuffle", seed=seed))["test"]) for seed in range(9)}
    assert len(drawn) > 1
    moved = rows[::-1].with_columns(order=pl.int_range(pl.len()))
    assert prepare(moved, "leave-one-out", order="shuffle").equals(prepare(rows, "leave-one-out", order="shuffle"))


def test_some_timestamps_are_not_enough() -> None:
    rows = table(("u", "1", 4, 1), ("u", "2", 4, None))
    with pytest.raises(DataError, match="1 of 2 without a timestamp"):
        prepare(rows, "tallrec")
    with pytest.raises(DataError, match="1 of 2 without a timestamp"):
        prepare(rows, "leave-one-out")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nearest", {}, "protocol 'nearest'; expected tallrec, tallrec-movie"),
        ("temporal", {"order": "shuffle"}, "found order shuffle; expected order time or file"),
        ("leave-one-out", {"split": (8, 1, 1)}, "has no proportions; found split 8:1:1"),
        ("leave-one-out", {"folds": 5}, "leave-one-out has no folds .* expected protocol tallrec-book or explicit-"),
        ("temporal", {"folds": 5}, "temporal has no folds of users"),
        ("tallrec", {"folds": 5}, "tallrec-movie has no folds of users"),
    ],
)
def test_what_a_protocol_cannot_do_is_said(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(TALLREC, name, **options)


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": (0, 0, 0)},
        {"split": (-1, 1, 1)},
        {"max_history": 0},
        {"min_history": 0},
        {"folds": 2},
        {"folds": 3, "fold": 3},
        {"fold": 1},
        {"folds": 3, "split": (8, 1, 1)},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ratios|greater than or equal|fold|exclude"):
        SplitConfig(**wrong)


def test_no_target_is_an_error_with_the_longest_user() -> None:
    with pytest.raises(DataError, match=r"2 users, the longest with 4 interactions; expected a user with more than 10"):
        prepare(TALLREC, "tallrec")


def like_rate_auc(samples: pl.DataFrame) -> float:
    """AUC of the share of liked history items on the test split, by counting pairs."""
    test = samples.filter(pl.col("split") == "test")
    flags = pl.col("history").list.eval(pl.element().struct.field("liked").cast(pl.Float64)).list.mean()
    rates, labels = test.select(flags).to_series().to_numpy(), test["label"].to_numpy()
    difference = rates[labels == 1][:, None] - rates[labels == 0][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


@pytest.fixture(scope="module")
def movielens(real_data: Path) -> pl.DataFrame:
    raw = pl.read_csv(
        real_data / "ml-100k" / "u.data", separator="\t", has_header=False, new_columns=list(INTERACTIONS)[:4],
        schema_overrides=list(INTERACTIONS.values())[:4],
    )  # fmt: skip
    return raw.with_columns(order=pl.int_range(pl.len(), dtype=pl.Int64))


@pytest.mark.real_data
def test_movielens_by_tallrec_is_the_published_split(movielens: pl.DataFrame) -> None:
    samples = prepare(movielens, "tallrec")
    assert split_counts(samples) == {
        "train": {"samples": 8000, "users": 80, "positive": 4457},
        "valid": {"samples": 1000, "users": 14, "positive": 658},
        "test": {"samples": 1000, "users": 16, "positive": 528},
    }
    assert like_rate_auc(samples) == pytest.approx(0.7260, abs=5e-5)


@pytest.mark.real_data
def test_movielens_by_leave_one_out_has_every_user(movielens: pl.DataFrame) -> None:
    samples = prepare(movielens, "leave-one-out")
    counts = split_counts(samples)
    assert [counts[split]["users"] for split in SPLITS] == [943, 943, 943]
    assert len(samples) == 100_000 - 943
    rates = [like_rate_auc(prepare(movielens, "leave-one-out", order_seed=seed)) for seed in range(5)]
    assert np.mean(rates) == pytest.approx(0.7558, rel=0.01)  # over twelve random orders of ties: 0.7558 +- 0.006
    assert 0.002 < np.std(rates) < 0.012


@pytest.mark.real_data
def test_movielens_by_leave_n_out_has_ten_targets_of_every_user(movielens: pl.DataFrame) -> None:
    samples = prepare(movielens, "leave-n-out")
    assert split_counts(samples)["test"]["samples"] == 9430
    test = (
        samples.filter(split="test").group_by("user_id").agg(pl.col("label").n_unique(), pl.col("history").n_unique())
    )
    assert len(test) == 943
    assert int((test["label"] == 2).sum()) == 789
    assert test["history"].max() == 1
    assert like_rate_auc(samples) == pytest.approx(0.646, rel=0.01)


@settings(max_examples=15, deadline=None)
@given(interactions(), st.sampled_from(["leave-one-out", "temporal", "tallrec-book"]), st.integers(1, 4))
def test_few_test_users_are_some_of_all_with_all_that_they_have(rows: pl.DataFrame, protocol: str, count: int) -> None:
    try:
        whole = prepare(rows, protocol, min_history=1)
    except DataError:
        return
    few = prepare(rows, protocol, min_history=1, test_users=count)
    for split in SPLITS:
        before, after = (samples.filter(pl.col("split").cast(pl.String) == split) for samples in (whole, few))
        users = after["user_id"].unique()
        assert len(users) == (
            before["user_id"].n_unique() if split == "train" else min(count, before["user_id"].n_unique())
        )
        assert after.equals(before.filter(pl.col("user_id").is_in(users.implode())))


def test_few_test_users_are_a_seeded_choice_and_the_same_in_valid() -> None:
    rows = table(*[(str(user), str(item), 4.0, item) for user in range(30) for item in range(6)])
    chosen = []
    for seed in (0, 0, 1):
        samples = prepare(rows, "leave-one-out", test_users=7, seed=seed)
        valid, test = (set(samples.filter(pl.col("split") == split)["user_id"]) for split in ("valid", "test"))
        assert valid == test
        chosen.append(test)
    assert chosen[0] == chosen[1] != chosen[2]
