"""Saved models and baselines are told apart by what their manifests say they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.artifacts import write_directory
from recalign.baselines.artifact import train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.baselines.sequence_scorer import SequenceScorer
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ArtifactError, ConfigError
from recalign.evaluation import saved
from recalign.testing.data import write_sample_set


@pytest.fixture
def data(tmp_path: Path) -> SampleSet:
    history = (HistoryEntry("a", True),)
    splits = {"train": [Sample(f"t{n}", "u", "b", n % 2, history) for n in range(4)]}
    return write_sample_set(tmp_path / "data", {"a": "Alien", "b": "Brazil"}, splits)


def test_a_baseline(data: SampleSet, tmp_path: Path) -> None:
    config = BaselineConfig(model="caser", selection="last", weight_decays=(1e-5,), max_steps=1)
    train_baseline(data, config, tmp_path / "b")
    scorer = saved.load_saved(tmp_path / "b", data)
    assert isinstance(scorer, SequenceScorer)
    assert scorer.log_odds
    with pytest.raises(ConfigError, match=r"found a baseline; expected a language model"):
        saved.load_saved(tmp_path / "b", data, kind="paper")


def test_a_model(data: SampleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(saved, "load_scorer", lambda *given, **options: asked.append((given, options)))
    with write_directory(tmp_path / "m", "model", config={}) as stage:
        (stage / "x").write_text("y")
    saved.load_saved(tmp_path / "m", data, kind="paper")
    assert asked == [((tmp_path / "m", data), {"kind": "paper"})]


def test_nothing_and_something_else(data: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        saved.load_saved(tmp_path / "none", data)
    with pytest.raises(ArtifactError, match="samples"):
        saved.load_saved(data.path, data)
