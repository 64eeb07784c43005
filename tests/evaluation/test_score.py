"""From a scorer to a score file: temperatures by one rule, reads of the test split logged."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest, write_directory
from recalign.baselines.priors import prior
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError
from recalign.evaluation.score import NOT_ALLOWED, may_fit, score_split

from .conftest import Taste, samples


def run_directory(path: Path, config: dict[str, object] | None = None) -> Path:
    with write_directory(path, "model", config=config or {}) as staging:
        (staging / "weights").write_bytes(b"w")
    return path


def test_each_read_of_the_test_split_is_logged_in_the_run(data: SampleSet, tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run")
    before = read_manifest(run).fingerprint
    for split in ("valid", "test", "train", "test"):
        score_split(Taste(), data, split, model=run)
    manifest = read_manifest(run)
    reads = manifest.info["test_reads"]
    assert [(each["model"], each["data"], each["n"]) for each in reads] == [("taste", data.fingerprint, 120)] * 2
    assert all(each["time"].endswith("+00:00") for each in reads)
    assert manifest.fingerprint == before


def test_a_read_that_cannot_be_logged_gives_no_result(data: SampleSet, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError):
        score_split(Taste(), data, "test", model=tmp_path / "empty")


def test_a_temperature_is_for_priors_and_for_models_that_saw_validation_labels(data: SampleSet, tmp_path: Path) -> None:
    seen = run_directory(tmp_path / "a", {"labels_seen": {data.fingerprint: {"train": 16, "valid": 100}}})
    strict = run_directory(tmp_path / "b", {"labels_seen": {data.fingerprint: {"train": 16, "valid": 0}}})
    elsewhere = run_directory(tmp_path / "c", {"labels_seen": {"other": {"train": 16, "valid": 100}}})
    zero_shot = run_directory(tmp_path / "d")
    allowed = [may_fit(Taste(), data, model) for model in (seen, strict, elsewhere, zero_shot, None)]
    assert allowed == [True, False, False, False, False]
    assert may_fit(prior("like-rate"), data, None)
    for model, expected in ((seen, True), (strict, False)):
        scores = score_split(Taste(), data, "test", model=model)
        assert (scores.temperature.value is not None) == expected
    assert score_split(prior("like-rate"), data, "test").temperature.value is not None


def test_the_rule_can_be_overruled_and_changes_no_score(make: Callable[..., SampleSet], data: SampleSet) -> None:
    with_it, without = score_split(Taste(), data, "test", calibrate=True), score_split(Taste(), data, "test")
    assert with_it.temperature.value == pytest.approx(2 / math.log(4), rel=0.5)
    assert without.temperature == score_split(prior("like-rate"), data, "test", calibrate=False).temperature
    assert without.temperature == NOT_ALLOWED
    assert with_it.frame.equals(without.frame)
    assert "itself" in score_split(Taste(), data, "valid", calibrate=True).temperature.reason
    bare = make(test=samples("e", 20, 2))
    assert score_split(Taste(), bare, "test", calibrate=True).temperature.reason == "there are no validation samples"
    order = score_split(Taste(log_odds=False), data, "test", calibrate=True)
    assert order.temperature.reason == "the scores are an order, not log-odds"
