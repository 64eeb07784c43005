"""Histories, sample ids, and the prepared directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.artifacts import write_directory
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import (
    HistoryEntry,
    Sample,
    SampleSet,
    build_samples,
    check_samples,
    split_counts,
    to_samples,
    with_sample_ids,
)
from recalign.data.schema import ITEMS, SAMPLES
from recalign.errors import ArtifactError, ConfigError, DataError


def rows(*entries: tuple[str, str, bool, bool]) -> pl.DataFrame:
    """(user, item, liked, negative) in order."""
    frame = pl.DataFrame(list(entries), schema=["user_id", "item_id", "liked", "negative"], orient="row")
    return frame.with_columns(rating=pl.lit(None, pl.Float64), timestamp=pl.lit(None, pl.Int64))


def built(frame: pl.DataFrame, **changes: Any) -> dict[tuple[str, str], list[str]]:
    samples = build_samples(frame, **{"window": 10, "min_history": 1, "negatives_in_history": False, **changes})
    histories = [[entry["item_id"] for entry in history] for history in samples["history"].to_list()]
    return dict(zip(zip(samples["user_id"], samples["item_id"], strict=True), histories, strict=True))


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
    assert built(SEQUENCE, window=2, min_history=3) == {("u", "d"): ["b", "c"]}
    assert built(SEQUENCE, min_history=9) == {}


def test_negatives_share_the_history_of_their_positive() -> None:
    frame = rows(
        *(("u", item, not negative, negative) for item, negative in zip("aXbYc", [0, 1, 0, 1, 0], strict=True))
    )
    frame = frame.with_columns(pl.col("liked", "negative").cast(pl.Boolean))
    assert built(frame) == {("u", "b"): ["a"], ("u", "Y"): ["a"], ("u", "c"): ["a", "b"]}
    shown = built(frame, negatives_in_history=True)
    assert shown == {("u", "b"): ["a", "X"], ("u", "Y"): ["a", "X"], ("u", "c"): ["a", "X", "b", "Y"]}


@given(st.lists(st.integers(1, 6), max_size=6), st.integers(1, 4), st.integers(1, 3))
def test_histories_match_a_plain_loop(lengths: list[int], window: int, min_history: int) -> None:
    entries = [(f"u{user}", f"i{place}", place % 2 == 0, False) for user, n in enumerate(lengths) for place in range(n)]
    if not entries:
        return
    expected = {
        (f"u{user}", f"i{place}"): [f"i{earlier}" for earlier in range(place)][-window:]
        for user, n in enumerate(lengths)
        for place in range(n)
        if place >= min_history
    }
    assert built(rows(*entries), window=window, min_history=min_history) == expected


def test_sample_ids_are_stable_and_unique() -> None:
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "a"], "position": [1, 2]})
    ids = with_sample_ids(frame, "temporal")["sample_id"].to_list()
    assert ids == ["c013f05ce17a7b1c", "cf23412ff9b0b5b5"]
    assert with_sample_ids(frame[1:], "temporal")["sample_id"].to_list() == ids[1:]
    assert with_sample_ids(frame, "other")["sample_id"].to_list() != ids
    with pytest.raises(DataError, match="same user, item and position"):
        with_sample_ids(pl.concat([frame, frame]), "temporal")


def table(**changes: list[Any]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        "sample_id": ["s0", "s1", "s2"],
        "split": ["train", "train", "test"],
        "user_id": ["u", "v", "u"],
        "item_id": ["b", "a", "a"],
        "label": [1, 0, 0],
        "rating": [4.5, None, 2.0],
        "timestamp": [7, None, 9],
        "history": [
            [{"item_id": "a", "liked": True, "rating": 5.0}],
            [],
            [{"item_id": "b", "liked": False, "rating": None}, {"item_id": "a", "liked": True, "rating": 4.0}],
        ],
    }
    return pl.DataFrame({**columns, **changes}, schema=dict(SAMPLES))


def test_rows_become_samples() -> None:
    assert to_samples(table()) == [
        Sample("s0", "u", "b", 1, (HistoryEntry("a", True, 5.0),), 7),
        Sample("s1", "v", "a", 0, (), None),
        Sample("s2", "u", "a", 0, (HistoryEntry("b", False, None), HistoryEntry("a", True, 4.0)), 9),
    ]
    assert to_samples(table().clear()) == []
    assert split_counts(table())["train"] == {"samples": 2, "users": 2, "positive": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": ["train", "train", "dev"]}, "'split'; found 'dev'"),
        ({"label": [1, 2, 0]}, "'label'"),
        ({"sample_id": ["s0", "s0", "s2"]}, "'sample_id'"),
    ],
)
def test_samples_are_checked(change: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_samples(table(**change))
    with pytest.raises(DataError, match="unexpected columns or types: rating"):
        check_samples(table().drop("rating"))


def write(target: Path, samples: pl.DataFrame, kind: str = "samples") -> Path:
    items = pl.DataFrame([("a", "A", None, None, None), ("b", "B", None, None, None)], schema=dict(ITEMS), orient="row")
    config = {"domain": {"noun": "shoe", "yes": "Ja."}, "template": "default"}
    with write_directory(target, kind, config=config) as staging:
        samples.write_parquet(staging / "samples.parquet")
        ItemCatalog.from_items(items, "{title}").write(staging / "items.parquet")
    return target


def test_a_prepared_directory_is_loaded(tmp_path: Path) -> None:
    loaded = SampleSet.load(write(tmp_path / "data", table()))
    assert loaded.domain == {"noun": "shoe", "yes": "Ja."}
    assert loaded.template == "default"
    assert loaded.fingerprint == loaded.manifest.fingerprint
    assert loaded.catalog.text("b") == "B"
    assert len(loaded) == 3
    assert loaded.frame().equals(table())
    assert [sample.sample_id for sample in loaded.samples("train")] == ["s0", "s1"]
    assert loaded.samples("valid") == []
    with pytest.raises(ConfigError, match="'dev'; expected train or valid or test"):
        loaded.frame("dev")


def test_an_altered_or_foreign_directory_is_refused(tmp_path: Path) -> None:
    target = write(tmp_path / "data", table())
    path = target / "samples.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"samples\.parquet"):
        SampleSet.load(target)
    with pytest.raises(ArtifactError, match="expected 'samples'"):
        SampleSet.load(write(tmp_path / "run", table(), kind="run"))
    with pytest.raises(ArtifactError, match="no such directory"):
        SampleSet.load(tmp_path / "nowhere")


def test_an_intact_directory_with_other_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unexpected columns"):
        SampleSet.load(write(tmp_path / "data", table().drop("history")))
