"""A model artefact gives back the tuned model, its template and its catalogue."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError, ModelError
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.scoring.base import sample_lists
from recalign.testing.tiny import make_tiny
from recalign.tuning.model_artifact import SharedBackbones, backbone_of, load_catalog, load_model, load_scorer
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_stage


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, inputs: Callable[..., StageInputs]) -> Path:
    return tune_stage(inputs(max_steps=1, template="tallrec"), tmp_path_factory.mktemp("artefact") / "model")


def test_the_catalogue_and_the_template_are_its_own(model: Path, source: SampleSet, target: SampleSet) -> None:
    assert load_catalog(model).ids == source.catalog.ids
    own = load_scorer(model, device="cpu")
    assert (own.name, own.encoder.template.name, own.encoder.domain.noun) == ("model", "tallrec", "movie")
    assert own.encoder.max_length == 384
    there = load_scorer(model, target, device="cpu", kind="paper")
    assert there.catalog is target.catalog
    assert (there.encoder.domain.noun, there.encoder.template.name) == ("book", "tallrec")
    assert not there.log_odds


def test_it_is_loaded_for_inference(model: Path) -> None:
    loaded, backbone, manifest = load_model(model, device="cpu")
    assert not loaded.training
    assert not any(tensor.requires_grad for tensor in loaded.parameters())
    assert manifest.parents["backbone"] == backbone.fingerprint


def test_scores_are_the_same_after_loading_twice(model: Path, source: SampleSet) -> None:
    lists = sample_lists(source.samples("test"))
    first = load_scorer(model, source, device="cpu").score(lists).flat()
    assert np.array_equal(first, load_scorer(model, source, device="cpu").score(lists).flat())


def test_models_share_a_backbone_and_no_adapter(
    tmp_path: Path, model: Path, inputs: Callable[..., StageInputs], source: SampleSet
) -> None:
    """In turns, with a model of full weights between them: every score is that of the model alone, to the bit."""
    other = tune_stage(inputs(max_steps=2, seed=1), tmp_path / "other")
    full = tune_stage(inputs(max_steps=1, mode="full"), tmp_path / "full")
    on_full = tune_stage(inputs(max_steps=1, parent=full), tmp_path / "on-full")
    runs, lists = [model, full, other, on_full, model], sample_lists(source.samples("test"))
    alone = [load_scorer(run, device="cpu").score(lists).flat() for run in runs]
    shared = SharedBackbones()
    scorers = [load_scorer(run, device="cpu", shared=shared) for run in runs]
    for _ in range(2):
        for scorer, expected in zip(scorers, alone, strict=True):
            assert np.array_equal(scorer.score(lists).flat(), expected)
    assert len({tuple(scores) for scores in alone}) == 4

    def weights(index: int, lora: bool) -> list[int]:
        named = scorers[index].model.named_parameters()
        return [parameter.data_ptr() for name, parameter in named if ("lora_" in name) == lora]

    base = weights(0, lora=False)
    assert weights(2, lora=False) == weights(4, lora=False) == base
    assert base
    apart = [
        base,
        weights(1, lora=False),
        weights(3, lora=False),
        *(weights(index, lora=True) for index in (0, 2, 3, 4)),
    ]
    pointers = [pointer for group in apart for pointer in group]
    assert len(set(pointers)) == len(pointers)


def test_the_same_backbone_in_two_places_is_loaded_once(
    tmp_path: Path, model: Path, backbone: BackboneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = shutil.copytree(backbone.name, tmp_path / "moved")
    asked: list[str] = []

    def counted(config: BackboneConfig) -> Any:
        asked.append(config.name)
        return load_backbone(config)

    monkeypatch.setattr("recalign.tuning.model_artifact.load_backbone", counted)
    shared = SharedBackbones()
    for name in (backbone.name, str(moved)):
        load_model(model, backbone=name, device="cpu", shared=shared)
    assert asked == [backbone.name]
    other = make_tiny(tmp_path / "other", seed=5)
    fresh = SharedBackbones()
    with pytest.raises(ModelError, match="another backbone"):
        load_model(model, backbone=str(other), device="cpu", shared=fresh)
    load_model(model, device="cpu", shared=fresh)
    assert len(asked) == 3


def test_a_backbone_that_moved(tmp_path: Path, model: Path, backbone: BackboneConfig, source: SampleSet) -> None:
    assert backbone_of(model).name == str(Path(backbone.name).resolve())
    copy = tmp_path / "deep" / "in" / "model"
    shutil.copytree(model, copy)
    with pytest.raises(ModelError, match="llama"):
        load_model(copy, device="cpu")
    assert load_model(copy, backbone=backbone.name, device="cpu")[1].name == backbone.name
    other = make_tiny(tmp_path / "other", seed=5)
    with pytest.raises(ModelError, match="another backbone"):
        load_model(copy, backbone=str(other), device="cpu")


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "template.toml", "items.parquet"])
@pytest.mark.parametrize("load", [load_model, load_scorer])
def test_altered_files_are_refused(tmp_path: Path, model: Path, name: str, load: Callable[..., Any]) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    blob = bytearray((copy / name).read_bytes())
    blob[len(blob) // 2] ^= 1
    (copy / name).write_bytes(bytes(blob))
    with pytest.raises(ArtifactError, match=Path(name).name):
        load(copy)


def test_what_is_no_model(tmp_path: Path, source: SampleSet) -> None:
    with pytest.raises(ArtifactError, match="nowhere"):
        load_scorer(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="of another kind"):
        load_scorer(source.path)
    with pytest.raises(ArtifactError, match="of another kind"):
        load_catalog(source.path)


def test_a_recommender_with_an_index(tmp_path: Path, model: Path, source: SampleSet, target: SampleSet) -> None:
    from recalign.recommender import Recommender, Selection
    from recalign.retrieval.make import make_index

    make_index(source.path, tmp_path / "of-data")
    of_model = make_index(model, tmp_path / "of-model")
    assert [retriever.name for retriever in of_model.retrievers] == ["bm25"]
    liked = [f"id:{source.catalog.ids[0]}"]
    recommender = Recommender.load(model, index=tmp_path / "of-data", device="cpu")
    few, all_of_them = Selection(retrieve=7), recommender.rank(recommender.history(liked), len(source.catalog))
    found = recommender.recommend(liked, k=40, selection=few)
    assert recommender.index is not None
    assert {item.item_id for item in found} <= set(recommender.index.retrieve(recommender.history(liked), 7).item_ids)
    scores = {item.item_id: item.score for item in all_of_them}
    assert [item.score for item in found] == pytest.approx([scores[item.item_id] for item in found], rel=1e-4, abs=1e-5)
    diverse = recommender.recommend(liked, k=40, selection=Selection(retrieve=7, diversity=0.9))
    assert sorted(item.item_id for item in diverse) == sorted(item.item_id for item in found)
    assert diverse[0] == found[0]
    with pytest.raises(ArtifactError, match=r"recalign index .*target --output .*of-data --update"):
        Recommender.load(model, target.path, index=tmp_path / "of-data", device="cpu")
    make_index(target.path, tmp_path / "of-data", update=True)
    Recommender.load(model, target.path, index=tmp_path / "of-data", device="cpu")


def test_int8_is_near_and_leaves_a_shared_backbone_as_it_is(model: Path, source: SampleSet) -> None:
    lists, shared = sample_lists(source.samples("test")), SharedBackbones()
    first = load_scorer(model, device="cpu", shared=shared)
    expected = first.score(lists).flat()
    found = load_scorer(model, device="cpu", precision="int8", shared=shared).score(lists).flat()
    assert 0 < np.abs(found - expected).max() <= 0.2 * np.abs(expected).max()
    assert np.array_equal(first.score(lists).flat(), expected)
    assert np.array_equal(load_scorer(model, device="cpu", shared=shared).score(lists).flat(), expected)
