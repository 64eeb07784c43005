"""The files of samples: what is written is read back, from any split, whatever the size of a group."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recalign.data import sample_files
from recalign.data.feedback import FeedbackConfig
from recalign.data.readers.synthetic import generate
from recalign.data.sample_files import StoredSamples, write_samples
from recalign.data.sample_table import SampleTable
from recalign.data.schema import EVENTS, STORED_SAMPLES
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.errors import DataError

LIKE = FeedbackConfig(like_above=3)


@pytest.fixture(scope="module")
def table() -> SampleTable:
    source = generate("movies", users=30, items=60, ratings_per_user=12, seed=4)
    protocol = resolve_protocol("leave-one-out", source.interactions)
    return make_table(source.interactions, protocol, plan(protocol, SplitConfig(max_history=4), LIKE), LIKE)


@pytest.mark.parametrize("group", [7, 1_000_000])
def test_tables_come_back(table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(sample_files, "GROUP_ROWS", group)
    write_samples(tmp_path, table)
    assert pl.read_parquet_schema(tmp_path / "samples.parquet") == STORED_SAMPLES
    assert pl.read_parquet_schema(tmp_path / "events.parquet") == EVENTS
    stored = StoredSamples(tmp_path)
    assert stored.frame().equals(table.frame())
    for split in ("train", "valid", "test"):
        assert stored.frame(split).equals(table.frame(table.split(split)))
        assert stored.counts()[split] == len(table.split(split))
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
