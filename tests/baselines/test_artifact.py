"""Baseline artefacts: what they hold, what they are refused for, and that they come back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recalign.artifacts import Manifest, read_manifest
from recalign.baselines.artifact import load_baseline, train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet, choose_shots
from recalign.errors import ArtifactError, ConfigError, DataError, ModelError
from recalign.metrics.classification import auc
from recalign.scoring.base import sample_lists
from recalign.testing.data import write_sample_set

from .conftest import TITLES, UNSEEN, labels_of, made_samples, make_encoder

SMALL = {"embedding": 8, "feedback": 4, "width": 16, "layers": 1, "max_steps": 40, "weight_decays": (1e-4, 1e-6)}


def config(model: str = "gru4rec", **settings: Any) -> BaselineConfig:
    return BaselineConfig.model_validate({"model": model, **SMALL, **settings})


def trained(data: SampleSet, output: Path, model: str = "gru4rec", **options: Any) -> Manifest:
    settings = {name: options.pop(name) for name in tuple(options) if name in BaselineConfig.model_fields}
    return train_baseline(data, config(model, **settings), output, **options)


def test_the_manifest_says_what_was_trained_from_what(data: SampleSet, tmp_path: Path) -> None:
    manifest = trained(data, tmp_path / "b", shots=16, seed=3)
    assert manifest.kind == "baseline"
    assert manifest.parents == {"data": data.fingerprint}
    assert manifest.config["labels_seen"] == {data.fingerprint: {"data": "data", "train": 16, "valid": 60}}
    assert manifest.config["baseline"]["shots"] == 16
    assert manifest.info["weight_decay"] in (1e-4, 1e-6)
    rows = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert max(row["valid_auc"] for row in rows) == pytest.approx(manifest.info["valid_auc"])
    chosen = choose_shots(data.samples("train"), 16, 3)
    items = {sample.item_id for sample in chosen} | {entry.item_id for sample in chosen for entry in sample.history}
    assert pl.read_parquet(tmp_path / "b" / "items.parquet")["item_id"].to_list() == sorted(items)


def test_what_is_loaded_scores_like_what_was_selected(data: SampleSet, tmp_path: Path) -> None:
    manifest = trained(data, tmp_path / "b", lr=5e-3)
    samples = data.samples("valid")
    scores = load_baseline(tmp_path / "b", data).score(sample_lists(samples)).flat()
    assert auc(labels_of(samples), scores) == pytest.approx(manifest.info["valid_auc"])
    assert manifest.info["valid_auc"] > 0.9
    assert load_baseline(tmp_path / "b", data).name == "b"


def test_unseen_items_share_one_embedding(data: SampleSet, tmp_path: Path) -> None:
    trained(data, tmp_path / "b", shots=4, item_scale=1.0)
    scorer = load_baseline(tmp_path / "b", data)
    seen = set(pl.read_parquet(tmp_path / "b" / "items.parquet")["item_id"])
    unseen = [item for item in TITLES if item not in seen]
    assert UNSEEN in unseen
    assert len(unseen) > 1
    history = data.samples("test")[0].history
    values = scorer.score([CandidateList("u", history, tuple(unseen))]).values[0]
    assert np.ptp(values) <= 1e-5 * np.abs(values).max()
    values = scorer.score([CandidateList("u", history, tuple(sorted(seen)))]).values[0]
    assert len(set(values.tolist())) == len(seen)


def test_another_dataset_is_scored_by_titles(data: SampleSet, tmp_path: Path) -> None:
    trained(data, tmp_path / "b", item_scale=1.0)
    titles = {"x": "TITLE number 3", "i3": "Title number 5", "new": "Never heard of"}
    other = write_sample_set(tmp_path / "other", titles, {"test": [Sample("s", "u", "x", 1, ())]})
    own, foreign = load_baseline(tmp_path / "b", data), load_baseline(tmp_path / "b", other)
    ours = own.score([CandidateList("u", (HistoryEntry("i3", True),), ("i3", "i5", UNSEEN))])
    theirs = foreign.score([CandidateList("u", (HistoryEntry("x", True),), ("x", "i3", "new"))])
    found, expected = theirs.values[0], ours.values[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_same_inputs_are_not_trained_twice_and_others_are_refused(data: SampleSet, tmp_path: Path) -> None:
    first = trained(data, tmp_path / "b")
    assert trained(data, tmp_path / "b", progress=lambda row: pytest.fail("trained again")) == first
    with pytest.raises(ArtifactError, match=r"exists already.*--overwrite"):
        trained(data, tmp_path / "b", seed=1)
    assert trained(data, tmp_path / "b", seed=1, overwrite=True).fingerprint != first.fingerprint


def test_equal_inputs_give_equal_artefacts(data: SampleSet, tmp_path: Path) -> None:
    assert trained(data, tmp_path / "a", "caser").fingerprint == trained(data, tmp_path / "b", "caser").fingerprint


def test_selection_last_reads_no_validation_label(data: SampleSet, tmp_path: Path) -> None:
    manifest = trained(data, tmp_path / "b", selection="last", weight_decays=(1e-5,))
    assert manifest.config["labels_seen"][data.fingerprint]["valid"] == 0
    assert manifest.info["valid_auc"] is None
    splits = {"train": data.samples("train"), "valid": [], "test": []}
    alone = write_sample_set(tmp_path / "data", TITLES, splits)
    other = trained(alone, tmp_path / "c", selection="last", weight_decays=(1e-5,))
    assert other.files["weights.safetensors"] == manifest.files["weights.safetensors"]
    with pytest.raises(ConfigError, match="2 weight decays, and no validation to choose by"):
        trained(data, tmp_path / "d", selection="last")
    with pytest.raises(DataError, match=r"validation split.*no samples.*selection = 'last'"):
        trained(alone, tmp_path / "d")


def test_very_many_validation_samples_are_cut_to_a_seeded_subset(data: SampleSet, tmp_path: Path) -> None:
    manifest = trained(data, tmp_path / "b", max_eval_samples=30)
    assert manifest.config["labels_seen"][data.fingerprint]["valid"] == 30


def test_too_few_samples_and_none_at_all(data: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 120 training samples; expected at least K = 500"):
        trained(data, tmp_path / "b", shots=500)
    none = write_sample_set(tmp_path / "data", TITLES, {"test": made_samples("test", 4)})
    with pytest.raises(DataError, match="train split"):
        trained(none, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_damaged_weights_are_refused(data: SampleSet, tmp_path: Path) -> None:
    trained(data, tmp_path / "b")
    weights = tmp_path / "b" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        load_baseline(tmp_path / "b", data)


def test_text_models_say_that_they_need_an_encoder_and_others_want_none(
    data: SampleSet, encoder: Path, tmp_path: Path
) -> None:
    for model in ("gru-bert", "dros-bert"):
        with pytest.raises(ConfigError, match=rf"baseline {model}; found no text encoder; .*--text-encoder"):
            trained(data, tmp_path / "b", model)
    with pytest.raises(ConfigError, match="gru4rec reads no text"):
        trained(data, tmp_path / "b", text_encoder=str(encoder))


def test_the_text_encoder_is_found_again_checked_and_may_move(data: SampleSet, tmp_path: Path) -> None:
    made = make_encoder(tmp_path / "encoder")
    manifest = trained(data, tmp_path / "b", "gru-bert", text_encoder=str(made))
    assert set(manifest.parents) == {"data", "text_encoder"}
    lists = sample_lists(data.samples("test"))
    expected = load_baseline(tmp_path / "b", data).score(lists).flat()
    moved = made.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError):
        load_baseline(tmp_path / "b", data)
    again = load_baseline(tmp_path / "b", data, text_encoder=str(moved)).score(lists).flat()
    np.testing.assert_array_equal(again, expected)
    other = make_encoder(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="another one"):
        load_baseline(tmp_path / "b", data, text_encoder=str(other))


def test_text_tells_unseen_items_apart(data: SampleSet, encoder: Path, tmp_path: Path) -> None:
    trained(data, tmp_path / "b", "gru-bert", text_encoder=str(encoder), shots=4)
    seen = set(pl.read_parquet(tmp_path / "b" / "items.parquet")["item_id"])
    unseen = tuple(item for item in TITLES if item not in seen)
    values = load_baseline(tmp_path / "b", data).score([CandidateList("u", (), unseen)]).values[0]
    assert len(set(values.tolist())) == len(unseen) > 1


def test_a_model_directory_is_no_baseline(data: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="samples"):
        load_baseline(data.path, data)
    assert read_manifest(data.path).kind == "samples"


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("model", ["gru4rec", "caser", "sasrec", "dros"])
def test_with_all_of_the_published_training_samples_each_learns(model: str, real_data: Path, tmp_path: Path) -> None:
    from recalign.experiment.prepare import PrepareConfig, prepare

    options = {"dataset": "movielens-100k", "input": real_data / "ml-100k", "protocol": "tallrec"}
    movies = SampleSet.load(prepare(PrepareConfig(output=tmp_path / "movies", **options)))
    manifest = train_baseline(movies, BaselineConfig.model_validate({"model": model}), tmp_path / "b")
    assert manifest.info["valid_auc"] >= 0.65
