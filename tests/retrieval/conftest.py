from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.data.schema import ITEMS
from recalign.retrieval.stock import Stock
from recalign.testing.data import write_sample_set

WORDS = {
    "a": ("red river", ["western"]),
    "b": ("red dawn", ["war"]),
    "c": ("blue river", ["western"]),
    "d": ("blue lagoon", ["romance", "drama"]),
    "e": ("green mile", ["drama"]),
    "f": ("red river again", ["western", "drama"]),
}
MET = {"u1": "abc", "u2": "ab", "u3": "cde", "u4": "de", "u5": "a"}  # nobody met f


def catalogue(items: Sequence[str] = tuple(WORDS)) -> ItemCatalog:
    rows = [(item, *_row(item)) for item in items]
    return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")


def _row(item: str) -> tuple[str, None, None, list[str]]:
    title, genres = WORDS.get(item, (f"title of {item}", []))
    return title, None, None, genres


def likes(items: str) -> tuple[HistoryEntry, ...]:
    """A history in which capitals are disliked."""
    return tuple(HistoryEntry(item.lower(), item.islower()) for item in items)


def met(stock: Stock) -> sp.csr_array:
    rows = [stock.places([item])[0] for items in MET.values() for item in items]
    users = [number for number, items in enumerate(MET.values()) for _ in items]
    return sp.csr_array((np.ones(len(rows), dtype=np.float32), (rows, users)), shape=(len(stock), len(MET)))


@pytest.fixture
def catalog() -> ItemCatalog:
    return catalogue()


@pytest.fixture
def stock(catalog: ItemCatalog) -> Stock:
    return Stock(catalog)


@pytest.fixture
def histories() -> list[tuple[HistoryEntry, ...]]:
    return [likes("ad"), likes("aBe"), likes("c"), ()]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    """Two circles of users: those of the even items and those of the odd ones; the last of each user is validation."""
    titles = {str(item): f"{'even' if item % 2 == 0 else 'odd'} story {item}" for item in range(40)}
    samples: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    draw = np.random.default_rng(0)
    for user in range(30):
        items = [str(2 * item + user % 2) for item in draw.permutation(18)[:8]]  # 36 to 39 are met by nobody
        for split, place in (("train", 5), ("valid", 6), ("test", 7)):
            history = tuple(HistoryEntry(item, True) for item in items[:place])
            samples[split].append(Sample(f"{split}{user}", f"user{user}", items[place], 1, history))
    return write_sample_set(Path(tmp_path_factory.mktemp("data")) / "prepared", titles, samples)
