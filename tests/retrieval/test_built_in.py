"""The contract for each built-in retriever, and what each of them is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry
from recalign.errors import ConfigError, DataError
from recalign.retrieval.base import Candidates, Filters, Retriever
from recalign.retrieval.exact import DISLIKED, RECENCY, ExactRetriever
from recalign.retrieval.fused import Fused
from recalign.retrieval.retrievers.bm25 import BM25
from recalign.retrieval.retrievers.item_item import ItemItem
from recalign.retrieval.retrievers.popularity import Popularity
from recalign.retrieval.retrievers.text import TextVectors
from recalign.retrieval.stock import Stock
from recalign.testing.contracts import RetrieverContract

from .conftest import WORDS, catalogue, likes, met


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector of letters."""
    return np.array([[text.count(letter) for letter in "abcdeginorvw"] for text in texts], dtype=np.float32)


def built_in(stock: Stock) -> list[ExactRetriever]:
    popularity, item_item = Popularity.fitted(stock, met(stock)), ItemItem.fitted(stock, met(stock))
    return [popularity, item_item, BM25.fitted(stock), TextVectors.fitted(stock, encode)]


def everything(stock: Stock) -> list[Retriever]:
    retrievers = built_in(stock)
    return [*retrievers, Fused(retrievers, {"popularity": 0.5, "item-item": 1, "bm25": 1, "text": 0.25})]


@pytest.mark.parametrize("which", range(5))
class TestContract(RetrieverContract):
    @pytest.fixture
    def retriever(self, stock: Stock, which: int) -> Retriever:
        return everything(stock)[which]


def test_popularity_counts_users(stock: Stock) -> None:
    found = Popularity.fitted(stock, met(stock)).retrieve([], 10)
    assert found.item_ids == ("a", "b", "c", "d", "e")  # f has met nobody
    assert found.scores.tolist() == [3, 2, 2, 2, 2]


def test_item_item_is_the_weighted_sum_of_cosines(stock: Stock) -> None:
    found = ItemItem.fitted(stock, met(stock)).retrieve(likes("Ad"), 10)
    expected = {  # b shares two users with a; c one with a and one with d; e two with d
        "b": DISLIKED * RECENCY * 2 / np.sqrt(3 * 2),
        "c": DISLIKED * RECENCY * 1 / np.sqrt(3 * 2) + 1 / 2,
        "e": 2 / 2,
    }
    assert found.item_ids == ("e", "c", "b")
    assert found.scores == pytest.approx([expected[item] for item in found.item_ids], rel=1e-6)


def test_bm25_finds_what_nobody_met(stock: Stock) -> None:
    found = BM25.fitted(stock).retrieve(likes("a"), 10)
    assert found.item_ids[0] == "f"
    assert set(found.item_ids) == {"f", "c", "b"}  # d and e share no word with a


def test_bm25_by_hand(stock: Stock) -> None:
    found = BM25.fitted(stock).retrieve(likes("e"), 10)  # green mile drama
    lengths = np.array([3, 3, 3, 4, 3, 5])
    idf = np.log1p((6 - 3 + 0.5) / (3 + 0.5))  # "drama" stands in d, e and f
    values = {item: idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * n / lengths.mean())) for item, n in (("d", 4), ("f", 5))}
    assert found.item_ids == ("d", "f")
    assert found.scores == pytest.approx([values["d"], values["f"]], rel=1e-6)


def test_common_words_are_left_unread_where_texts_are_many(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    bm25 = BM25.fitted(stock)
    assert set(bm25.retrieve(likes("f"), 10).item_ids) == {"a", "b", "c", "d", "e"}
    monkeypatch.setattr(
        "recalign.retrieval.retrievers.bm25.READ", 3
    )  # "again" stands in one text, the next word in three
    assert bm25.retrieve(likes("f"), 10).item_ids == ()
    monkeypatch.setattr("recalign.retrieval.retrievers.bm25.READ", 4)
    assert len(bm25.retrieve(likes("f"), 10).item_ids) == 2


def test_dislikes_are_no_query(stock: Stock) -> None:
    for kind in (BM25.fitted(stock), TextVectors.fitted(stock, encode)):
        assert kind.retrieve(likes("A"), 10).item_ids == ()


def test_text_vectors_are_cosines(stock: Stock) -> None:
    found = TextVectors.fitted(stock, encode).retrieve(likes("a"), 1)
    first, second = encode([stock.texts[0], stock.texts[2]])
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert found.item_ids == ("c",)
    assert found.scores == pytest.approx([(1 + cosine) / 2], rel=1e-5)


def test_filters_by_column(stock: Stock) -> None:
    popularity = Popularity.fitted(stock, met(stock))
    western = Filters.parse(["genres=western"])
    assert popularity.retrieve(likes("a"), 9, western).item_ids == ("c",)
    assert popularity.retrieve(likes("a"), 9, Filters.parse(["genres=western"], exclude_seen=False)).item_ids == (
        "a",
        "c",
    )
    assert popularity.retrieve([], 9, Filters.parse(["genres=western", "genres=war"])).item_ids == ("a", "b", "c")
    assert popularity.retrieve([], 9, Filters.parse(["genres=western", "title=red river"])).item_ids == ("a",)
    with pytest.raises(DataError, match="genres=Western; found no item that has it"):
        popularity.retrieve([], 9, Filters.parse(["genres=Western"]))
    with pytest.raises(DataError, match="found colour"):
        popularity.retrieve([], 9, Filters.parse(["colour=red"]))
    with pytest.raises(ConfigError, match="expected COLUMN=VALUE"):
        Filters.parse(["genres"])


def test_restored_from_disk(stock: Stock, histories: list[tuple[HistoryEntry, ...]], tmp_path: Path) -> None:
    for retriever in built_in(stock):
        retriever.write(tmp_path)
        again = type(retriever).read(tmp_path, stock)
        for history in histories:
            assert again.scores(history).tolist() == retriever.scores(history).tolist()


def test_without_words_or_interactions() -> None:
    stock = Stock(catalogue([]))
    assert BM25.fitted(stock).retrieve(likes("a"), 3).item_ids == ()


LETTERS = st.sampled_from("abcdefghi")
items = st.lists(st.sampled_from([*WORDS, "g", "h", "i"]), unique=True, min_size=1).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    items=items,
    history=st.lists(st.sampled_from("abcdefghi"), max_size=4),
    without=st.sets(st.sampled_from("abcdefghi")),
)
def test_items_come_and_go_without_a_rebuild(items: tuple[str, ...], history: list[str], without: set[str]) -> None:
    """What is removed or filtered never comes back; what reads texts is as if it had been made of these items."""
    old, new = Stock(catalogue()), Stock(catalogue(items))
    asked = likes("".join(history))
    moved = [retriever.over(new) for retriever in built_in(old)]
    fused = Fused(moved, {retriever.name: 1.0 for retriever in moved})
    for retriever in (*moved, fused):
        found = set(retriever.retrieve(asked, 20, Filters(without=frozenset(without))).item_ids)
        assert found <= set(items) - without - set(history)
    for place, fresh in ((2, BM25.fitted(new)), (3, TextVectors.fitted(new, encode))):
        np.testing.assert_allclose(moved[place].scores(asked), fresh.scores(asked), rtol=1e-5, atol=1e-6)


def test_interactions_stay_with_their_items(stock: Stock) -> None:
    moved = ItemItem.fitted(stock, met(stock)).over(Stock(catalogue(["new", "e", "d", "a"])))
    assert moved.retrieve(likes("d"), 9).item_ids == ("e",)
    assert Popularity.fitted(stock, met(stock)).over(moved.stock).retrieve([], 9).item_ids == ("a", "e", "d")


def test_a_text_that_changed_is_read_again(stock: Stock, catalog: ItemCatalog) -> None:
    frame = catalog.frame.with_columns(text=catalog.frame["text"].replace("green mile", "red river mile"))
    moved = BM25.fitted(stock).over(Stock(ItemCatalog(frame)))
    assert "e" in moved.retrieve(likes("a"), 9).item_ids


def test_new_texts_need_an_encoder(stock: Stock) -> None:
    vectors = TextVectors(stock, encode(stock.texts))
    vectors.over(Stock(catalogue(["b", "a"])))
    with pytest.raises(ConfigError, match="no encoder for 1 new texts"):
        vectors.over(Stock(catalogue(["a", "new"])))


class Forgetful(Popularity):
    """Ignores filters."""

    def retrieve(self, history: Sequence[HistoryEntry], k: int, filters: Filters = Filters()) -> Candidates:
        return super().retrieve((), k, Filters())


def test_the_contract_catches_a_retriever_that_ignores_filters(stock: Stock, catalog: ItemCatalog) -> None:
    with pytest.raises(AssertionError, match="items of the history come back"):
        RetrieverContract().test_what_is_filtered_never_comes_back(
            Forgetful.fitted(stock, met(stock)), catalog, [likes("a")]
        )
