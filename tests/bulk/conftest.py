from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recalign.artifacts import io as disk
from recalign.bulk.request import Request
from recalign.bulk.score import Scored, score_users
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList
from recalign.data.schema import ITEMS
from recalign.recommender import Recommender
from recalign.scoring.base import Scores

ITEM_IDS = tuple(f"i{number}" for number in range(12))
MODEL = {"model": "a" * 64}


class Hashed:
    """A score per history and item that no other pair shares; counts its calls."""

    name = "hashed"
    log_odds = True

    def __init__(self) -> None:
        self.calls = 0

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        self.calls += 1
        return Scores(tuple(self._of(asked) for asked in lists))

    def _of(self, asked: CandidateList) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        history = repr([(entry.item_id, entry.liked) for entry in asked.history])
        digests = [hashlib.sha256(f"{history}{item}".encode()).digest() for item in asked.item_ids]
        return np.array([int.from_bytes(digest[:4], "big") / 2**32 - 0.5 for digest in digests])


def small_catalogue() -> ItemCatalog:
    rows = [
        (item, f"Title {item}", None, None, ["even" if place % 2 == 0 else "odd"])
        for place, item in enumerate(ITEM_IDS)
    ]
    return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")


def some_events(users: int, seed: int = 0, per_user: int = 4) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    rows = users * per_user
    return pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in draw.permutation(np.repeat(np.arange(users), per_user))],
            "item_id": [ITEM_IDS[place] for place in draw.integers(0, len(ITEM_IDS), rows)],
            "liked": draw.integers(0, 2, rows),
            "timestamp": draw.integers(1_600_000_000, 1_600_000_005, rows),  # many at the same time
        }
    )


def contents(directory: Path) -> Mapping[str, bytes]:
    """The files of an output by name, but not locks and temporary files."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name[0] != "."}


def all_scores(directory: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(directory.glob("part-*.parquet"))])


@pytest.fixture(scope="module", autouse=True)
def unflushed() -> Iterator[None]:
    """No test here cuts the power, and waiting for the disk is most of what they would do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def recommender() -> Recommender:
    return Recommender(Hashed(), small_catalogue())


Score = Callable[..., Scored]


@pytest.fixture
def score(recommender: Recommender) -> Score:
    """Score a table into a directory with the hashed scorer."""

    def call(users: Path, output: Path, /, *, by: Recommender = recommender, **options: object) -> Scored:
        others = {
            name: options.pop(name) for name in ("share", "restart", "signals", "progress", "model") if name in options
        }
        request = Request(users, **{"shards": 5, **options})  # type: ignore[arg-type]
        return score_users(by, request, output, **{"model": MODEL, **others})  # type: ignore[arg-type]

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "events.parquet"
    some_events(60).write_parquet(path)
    return path
