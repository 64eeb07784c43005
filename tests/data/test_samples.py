"""Samples in memory and the prepared directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recalign.artifacts import write_directory
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.event_range import EventRange
from recalign.data.sample_table import check_samples, write_samples
from recalign.data.samples import HistoryEntry, Sample, SampleSet, choose_shots, split_counts, to_samples
from recalign.data.schema import ITEMS, SAMPLES
from recalign.errors import ArtifactError, ConfigError, DataError
from recalign.testing.data import write_sample_set


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


def write(
    target: Path, samples: pl.DataFrame, kind: str = "samples", then: Callable[[Path], None] = lambda _: None
) -> Path:
    items = pl.DataFrame([("a", "A", None, None, None), ("b", "B", None, None, None)], schema=dict(ITEMS), orient="row")
    config = {"domain": {"noun": "shoe", "yes": "Ja."}, "template": "default"}
    with write_directory(target, kind, config=config) as staging:
        write_samples(staging, samples)
        ItemCatalog.from_items(items, "{title}").write(staging / "items.parquet")
        then(staging)
    return target


def test_a_prepared_directory_is_loaded(tmp_path: Path) -> None:
    loaded = SampleSet.load(write(tmp_path / "data", table()))
    assert loaded.domain == Domain(noun="shoe", yes="Ja.")
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
    def break_samples(staging: Path) -> None:
        stored = pl.read_parquet(staging / "samples.parquet").drop("label")
        stored.write_parquet(staging / "samples.parquet", metadata={"recalign.format_version": "3"})

    with pytest.raises(DataError, match="samples; found unexpected columns or types: label"):
        SampleSet.load(write(tmp_path / "data", table(), then=break_samples))


def test_samples_of_an_earlier_version_say_what_to_do(tmp_path: Path) -> None:
    def as_before(staging: Path) -> None:
        table().write_parquet(staging / "samples.parquet")

    def in_seconds(staging: Path) -> None:
        stored = pl.read_parquet(staging / "samples.parquet")
        stored.write_parquet(staging / "samples.parquet", metadata={"recalign.format_version": "2"})

    with pytest.raises(ArtifactError, match=r"found format version 2; expected 3\. .*recalign prepare"):
        SampleSet.load(write(tmp_path / "old", table(), then=in_seconds))
    with pytest.raises(ArtifactError, match=r"found format version 1; expected 3\. .*recalign prepare"):
        SampleSet.load(write(tmp_path / "data", table(), then=as_before))


def test_a_split_is_checked_when_it_is_read(tmp_path: Path) -> None:
    loaded = SampleSet.load(write(tmp_path / "data", table(label=[1, 0, 2])))
    assert len(loaded.frame("train")) == 2
    with pytest.raises(DataError, match="'label'"):
        loaded.frame("test")


def test_counts_need_no_histories(tmp_path: Path) -> None:
    path = write(tmp_path / "data", table())
    for each in (
        SampleSet.load(path),
        SampleSet(path, SampleSet.load(path).manifest, table(), ItemCatalog.read(path / "items.parquet")),
    ):
        assert [each.count(split) for split in (None, "train", "valid", "test")] == [3, 2, 0, 1]
        assert each.table().frame().equals(table())
        with pytest.raises(ConfigError, match="'dev'"):
            each.count("dev")


def test_a_sample_knows_what_came_before_its_history(tmp_path: Path) -> None:
    entries = tuple(HistoryEntry(item, item == "a") for item in "abab")
    long, short = Sample("s1", "u", "a", 1, entries[2:], earlier=entries[:2]), Sample("s2", "v", "b", 0, entries[:1])
    data = write_sample_set(tmp_path / "data", {"a": "A", "b": "B"}, {"train": [long], "test": [short]})
    assert data.frame("train")["history"].to_list() == [[{"item_id": "a", "liked": True, "rating": None},
                                                         {"item_id": "b", "liked": False, "rating": None}]]  # fmt: skip
    (found,) = data.samples("train")
    assert (found, found.past) == (long, entries)
    assert found.history == entries[2:]
    (other,) = data.samples("test")
    assert other.past == other.history == entries[:1]
    assert to_samples(data.frame("train"))[0].past == entries[2:], "nothing more is known of a bare table"


def test_a_past_costs_two_numbers_until_somebody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = tuple(HistoryEntry("a", bool(place % 2)) for place in range(50))
    samples = [Sample(f"s{n}", "u", "b", 1, entries[n - 1 : n], earlier=entries[: n - 1]) for n in range(1, 50)]
    data = write_sample_set(tmp_path / "data", {"a": "A", "b": "B"}, {"train": samples})
    reads = list[Path]()
    data.frame()  # which reads the events for the histories
    read = pl.read_parquet
    monkeypatch.setattr(pl, "read_parquet", lambda path: reads.append(path) or read(path))
    found = data.samples()
    assert (len(found), reads) == (49, [])
    assert [sample.past for sample in found] == [sample.past for sample in samples]
    assert len(reads) == 1, "one table for all samples"
    logs = {id(sample.earlier.log) for sample in found if isinstance(sample.earlier, EventRange)}
    assert len(logs) == 1


def test_k_shot_is_seeded_nested_and_bounded() -> None:
    samples = [Sample(f"s{index}", "u", "i", index % 2, ()) for index in range(40)]
    small, large = choose_shots(samples, 8, 3), choose_shots(samples, 16, 3)
    assert choose_shots(samples, 8, 3) == small
    assert choose_shots(samples, 8, 4) != small
    assert set(small) <= set(large)
    assert large == [sample for sample in samples if sample in large], "in the order of the data"
    assert choose_shots(samples, None, 3) == samples
    with pytest.raises(DataError, match="K = 41"):
        choose_shots(samples, 41, 0)
