from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError, ConfigError
from recalign.retrieval.base import Retriever
from recalign.retrieval.fused import CUTOFF, Fused, choose_weights
from recalign.retrieval.index import Index, build_index
from recalign.retrieval.interactions import interactions_of
from recalign.retrieval.retrievers.popularity import Popularity
from recalign.retrieval.stock import Stock
from recalign.testing.contracts import RetrieverContract

from .conftest import catalogue, likes
from .test_built_in import built_in


class TestContract(RetrieverContract):
    @pytest.fixture
    def retriever(self) -> Retriever:
        return build_index(catalogue())


def test_the_fused_list_by_hand(stock: Stock) -> None:
    retrievers = built_in(stock)[:3]
    fused = Fused(retrievers, {"popularity": 0.5, "item-item": 1.0, "bm25": 0.0})
    lists = [retriever.retrieve(likes("d"), 9).item_ids for retriever in retrievers[:2]]
    expected: dict[str, float] = {}
    for weight, ids in zip((0.5, 1.0), lists, strict=True):
        for rank, item in enumerate(ids, start=1):
            expected[item] = expected.get(item, 0) + weight / (60 + rank)
    found = fused.retrieve(likes("d"), 9)
    assert dict(zip(found.item_ids, found.scores, strict=True)) == pytest.approx(expected)
    assert [retriever.name for retriever in fused.retrievers] == ["popularity", "item-item"]


@pytest.mark.parametrize("weights", [{}, {"popularity": -1.0}, {"popularity": float("nan")}, {"popularity": 0.0}])
def test_weights_that_make_no_sense(stock: Stock, weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="weight"):
        Fused(built_in(stock)[:1], weights)


def test_chosen_weights_are_never_worse_than_the_best_alone(data: SampleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recalign.retrieval.fused.CUTOFF", 5)
    index = build_index(data)
    recall = index.choice.recall
    assert index.choice.cases == 30
    assert recall["fused"] >= max(recall[retriever.name] for retriever in index.retrievers) > 0
    # the figures are those of the retrievers as they are asked later
    for name, retriever in ((Fused.name, index), *((each.name, each) for each in index.retrievers)):
        hits = [sample.item_id in retriever.retrieve(sample.past, 5).item_ids for sample in data.samples("valid")]
        assert recall[name] == pytest.approx(np.mean(hits)), name
    assert CUTOFF == 100


def test_without_validation_all_weights_are_one(stock: Stock) -> None:
    choice = choose_weights(built_in(stock), [])
    assert (choice.cases, set(choice.weights.values()), choice.recall) == (0, {1.0}, {})


def test_only_the_train_split_is_counted(data: SampleSet) -> None:
    stock = Stock(data.catalog)
    met = interactions_of(data, stock)
    assert met.sum() == 30 * 6  # five of the history and the target, of each user
    assert interactions_of(data, stock, frozenset({"user1", "user2"})).sum() == 12
    assert Popularity.fitted(stock, met).scores([]).sum() == 180


def test_a_written_index_answers_as_before(data: SampleSet, tmp_path: Path) -> None:
    index = build_index(data)
    manifest = index.write(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert manifest.parents == {"data": data.fingerprint}
    assert again.choice == index.choice
    for sample in data.samples("test"):
        before, after = index.retrieve(sample.past, 20), again.retrieve(sample.past, 20)
        assert before.item_ids == after.item_ids
        assert before.scores.tolist() == after.scores.tolist()
    again.check(data.catalog, tmp_path / "index", "DATA")


def test_damage_is_noticed(tmp_path: Path) -> None:
    build_index(catalogue()).write(tmp_path / "index")
    (tmp_path / "index" / "bm25.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"bm25\.safetensors is damaged"):
        Index.load(tmp_path / "index")


def test_another_catalogue_is_refused_with_the_command() -> None:
    index = build_index(catalogue())
    with pytest.raises(ArtifactError, match="recalign index DATA --output there --update"):
        index.check(catalogue(["a", "b"]), Path("there"), "DATA")
    index.over(catalogue(["a", "b"])).check(catalogue(["a", "b"]), Path("there"), "DATA")


def test_a_new_item_can_be_retrieved_and_a_removed_one_cannot(data: SampleSet) -> None:
    index = build_index(catalogue(["a", "b", "c"])).over(catalogue(["a", "c", "f"]))
    assert index.retrieve(likes("a"), 9).item_ids == ("f", "c")


def test_items_alike() -> None:
    index = build_index(catalogue())
    alike = index.similarity(["a", "f", "e"])
    assert np.diag(alike) == pytest.approx(1)
    assert alike[0, 1] > alike[1, 2] > alike[0, 2] == 0
