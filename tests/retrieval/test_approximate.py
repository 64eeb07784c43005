from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError
from recalign.retrieval import approximate
from recalign.retrieval.base import Filters
from recalign.retrieval.retrievers import text
from recalign.retrieval.retrievers.text import TextVectors
from recalign.retrieval.stock import Stock

ITEMS_HERE = 4000


def stock(first: int = 0) -> Stock:
    rows = [(str(item), f"title {item}", None, None, None) for item in range(first, first + ITEMS_HERE)]
    return Stock(ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}"))


def encode(texts: list[str]) -> np.ndarray:
    """A random vector near one of 40 centres, by the number in the title."""
    centres = np.random.default_rng(0).normal(size=(40, 16))
    numbers = [int(each.split()[1]) for each in texts]
    noise = np.array([np.random.default_rng(number).normal(size=16) for number in numbers])
    return (centres[np.array(numbers) % 40] + 0.5 * noise).astype(np.float32)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> tuple[TextVectors, TextVectors]:
    """The exact and the approximate one."""
    pytest.importorskip("faiss", reason="faiss (extra ann) is not installed")
    exact = TextVectors.fitted(stock(), encode)
    monkeypatch.setattr(text, "EXACT_BELOW", 1000)
    lists = approximate.LISTS * ITEMS_HERE**0.5  # as large a part of them is looked into as with 200,000 items
    visited = approximate.VISITED / (approximate.LISTS * approximate.EXACT_BELOW**0.5)
    monkeypatch.setattr(approximate, "VISITED", int(visited * lists))
    return exact, TextVectors.fitted(stock(), encode)


def test_it_finds_nearly_what_the_exact_search_finds(both: tuple[TextVectors, TextVectors]) -> None:
    shares = []
    for item in range(20):
        history = [HistoryEntry(str(item), True), HistoryEntry(str(item + 40), True)]
        expected, found = (each.retrieve(history, 100) for each in both)
        shares.append(len(set(expected.item_ids) & set(found.item_ids)) / 100)
        assert (np.diff(found.scores) <= 0).all()
        assert found.scores[:5] == pytest.approx(expected.scores[:5], rel=0.02)
    assert np.mean(shares) > 0.9


def test_filters_and_dislikes(both: tuple[TextVectors, TextVectors]) -> None:
    history = [HistoryEntry("7", True)]
    found = both[1].retrieve(history, 50)
    assert "7" not in found.item_ids
    without = frozenset(found.item_ids)
    assert not without & set(both[1].retrieve(history, 50, Filters(without=without)).item_ids)
    # so few are left that the search is exact
    only = frozenset({("item_id", "9"), ("item_id", "11")})
    assert set(both[1].retrieve(history, 50, Filters(only=only)).item_ids) == {"9", "11"}
    assert both[1].retrieve([HistoryEntry("7", False)], 50).item_ids == ()
    with pytest.raises(ConfigError, match="number of candidates"):
        both[1].retrieve(history, 0)


def test_written_moved_and_read(both: tuple[TextVectors, TextVectors], tmp_path: Path) -> None:
    moved = both[1].over(stock(100))  # the first hundred go, as many come
    history = [HistoryEntry("207", True)]
    found = moved.retrieve(history, 200).item_ids
    assert found
    assert not {str(item) for item in range(100)} & set(found)
    assert {str(item) for item in range(ITEMS_HERE, ITEMS_HERE + 100)} & set(moved.retrieve(history, 3000).item_ids)
    moved.write(tmp_path)
    assert TextVectors.read(tmp_path, stock(100)).retrieve(history, 200).item_ids == found


def test_without_faiss_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "EXACT_BELOW", 1000)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"no faiss. Install it: pip install 'recalign\[ann\]'"):
        TextVectors.fitted(stock(), encode)
