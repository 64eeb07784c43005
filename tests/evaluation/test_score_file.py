"""The per-sample score file: columns, round trip, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.data.schema import SCORES
from recalign.errors import ArtifactError, ConfigError, DataError, ModelError
from recalign.evaluation.score import score_split
from recalign.evaluation.score_file import ScoreFile, Temperature
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set


class Fixed:
    """Gives the values it is told to, in order."""

    name = "fixed"
    log_odds = True

    def __init__(self, values: Sequence[float], mass: float | None = None) -> None:
        self.values, self.mass = values, mass

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        arrays = tuple(np.array([value]) for value in self.values)
        return Scores(arrays, None if self.mass is None else tuple(np.full(1, self.mass) for _ in arrays))


@pytest.fixture
def data(tmp_path: Path) -> SampleSet:
    history = (HistoryEntry("a", True),)
    samples = [Sample("s1", "u1", "a", 1, history), Sample("s2", "u2", "b", 0, ())]
    return write_sample_set(tmp_path / "data", {"a": "A", "b": "B"}, {"test": samples})


def test_one_row_per_sample_with_the_columns_of_the_schema(data: SampleSet) -> None:
    scores = score_split(Fixed([0.5, -1.0]), data, "test", seed=3)
    assert dict(scores.frame.schema) == SCORES
    assert scores.frame.rows() == [("s1", "u1", "a", 1, 0.5, "fixed", 3), ("s2", "u2", "b", 0, -1.0, "fixed", 3)]
    assert (scores.split, scores.data, scores.log_odds) == ("test", data.fingerprint, True)
    assert score_split(Fixed([0.5, -1.0]), data, "test", name="mine").frame["model"].to_list() == ["mine", "mine"]


def test_round_trip(data: SampleSet, tmp_path: Path) -> None:
    scores = dataclasses.replace(score_split(Fixed([0.5, -1.0], mass=0.25), data, "test"), precision="int8")
    scores.write(tmp_path / "deep" / "scores.parquet")
    again = ScoreFile.read(tmp_path / "deep" / "scores.parquet")
    assert again.frame.equals(scores.frame)
    assert again.frame["label_mass"].to_list() == [0.25, 0.25]
    assert (again.split, again.data, again.log_odds) == (scores.split, scores.data, scores.log_odds)
    assert again.precision == "int8"


@pytest.mark.parametrize("values", [[0.5, float("nan")], [0.5, float("inf")], [0.5], [0.1, 0.2, 0.3]])
def test_broken_scores_are_refused(data: SampleSet, values: list[float]) -> None:
    with pytest.raises(ModelError, match="scores of fixed"):
        score_split(Fixed(values), data, "test")


def test_an_empty_or_unknown_split_is_refused(data: SampleSet) -> None:
    with pytest.raises(DataError, match=r"no samples \(train 0, valid 0, test 2\)"):
        score_split(Fixed([]), data, "train")
    with pytest.raises(ConfigError, match="train, valid, test"):
        score_split(Fixed([]), data, "tests")


def test_files_that_are_no_score_file_are_refused(data: SampleSet, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    with pytest.raises(ArtifactError, match="score file"):
        ScoreFile.read(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match="readable Parquet"):
        ScoreFile.read(path)
    scores = score_split(Fixed([0.5, -1.0]), data, "test")
    scores.frame.write_parquet(path)
    with pytest.raises(ArtifactError, match="no format_version, log_odds, split, data"):
        ScoreFile.read(path)
    stored = {f"recalign.{key}": "x" for key in ("log_odds", "split", "data")}
    scores.frame.drop("score").write_parquet(path, metadata=stored | {"recalign.format_version": "1"})
    with pytest.raises(ArtifactError, match="no score"):
        ScoreFile.read(path)
    scores.frame.write_parquet(path, metadata=stored | {"recalign.format_version": "99"})
    with pytest.raises(ArtifactError, match="format version 99"):
        ScoreFile.read(path)


def test_a_truncated_file_is_refused(data: SampleSet, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    score_split(Fixed([0.5, -1.0]), data, "test").write(path)
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ArtifactError):
            ScoreFile.read(path)
    assert pl.read_parquet  # the intact bytes still read
    path.write_bytes(whole)
    assert ScoreFile.read(path).frame.height == 2


def test_the_temperature_is_kept_to_the_last_bit_or_why_there_is_none(data: SampleSet, tmp_path: Path) -> None:
    scores = score_split(Fixed([0.5, -1.0]), data, "test")
    path = tmp_path / "scores.parquet"
    for temperature in (Temperature(1 / 3), Temperature(reason="nobody asked")):
        dataclasses.replace(scores, temperature=temperature).write(path)
        assert ScoreFile.read(path).temperature == temperature
        assert ScoreFile.read(path).frame.equals(scores.frame), "the scores are as the model gave them"


def test_a_file_from_before_temperatures_has_none_and_a_broken_one_is_refused(data: SampleSet, tmp_path: Path) -> None:
    frame, path = score_split(Fixed([0.5, -1.0]), data, "test").frame, tmp_path / "scores.parquet"
    stored = {f"recalign.{key}": "x" for key in ("log_odds", "split", "data")} | {"recalign.format_version": "1"}
    frame.write_parquet(path, metadata=stored)
    assert ScoreFile.read(path).temperature == Temperature(reason="the score file was written without one")
    frame.write_parquet(path, metadata=stored | {"recalign.temperature": "warm"})
    with pytest.raises(ArtifactError, match="temperature 'warm'; expected a number"):
        ScoreFile.read(path)
