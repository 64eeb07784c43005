"""The small prepared directories that tests are built on are real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ArtifactError, DataError
from recalign.testing.data import write_sample_set

SAMPLE = Sample("s", "u", "a", 1, (HistoryEntry("b", False, 2.0),), 7)


def test_what_is_written_is_what_loads(tmp_path: Path) -> None:
    written = write_sample_set(tmp_path / "d", {"a": "A", "b": "B"}, {"valid": [SAMPLE]}, config={"seed": 3})
    loaded = SampleSet.load(tmp_path / "d")
    assert loaded.samples("valid") == written.samples() == [SAMPLE]
    assert loaded.samples("train") == []
    assert loaded.catalog.title("b") == loaded.catalog.text("b") == "B"
    assert loaded.manifest.config["seed"] == 3
    assert loaded.fingerprint == written.fingerprint


def test_nothing_is_overwritten_and_rules_hold(tmp_path: Path) -> None:
    write_sample_set(tmp_path / "d", {"a": "A"}, {"test": [SAMPLE]})
    with pytest.raises(ArtifactError):
        write_sample_set(tmp_path / "d", {"a": "A"}, {"test": [SAMPLE]})
    with pytest.raises(DataError, match="sample_id"):
        write_sample_set(tmp_path / "e", {"a": "A"}, {"test": [SAMPLE, SAMPLE]})
    assert not (tmp_path / "e").exists()
