"""A small catalogue and scorers that tests hold, break and look into. Nothing here sleeps."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.data.schema import ITEMS, SPLITS
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set

LONG = 60.0  # seconds until a test that waits for what never comes fails


def catalogue(items: int = 12) -> ItemCatalog:
    """Items 1, 2, 3, ... with the titles "Film 1 (1991)", "Film 2 (1992)", ..."""
    rows = [(str(n), f"Film {n} ({1990 + n})", None, None, None) for n in range(1, items + 1)]
    return ItemCatalog.from_items(pl.DataFrame(rows, schema=ITEMS, orient="row"), "{title}")


def films(directory: Path, titles: Mapping[str, str] | None = None, users: int = 6) -> SampleSet:
    """Prepared data of the items of `catalogue`, or of `titles`; each user has a sample and a history in each split."""
    titles = titles or {item: catalogue().title(item) for item in catalogue().ids}
    items = sorted(titles, key=int)

    def sample(split: int, user: int) -> Sample:
        names = [items[(place * user + place + split) % len(items)] for place in range(4)]
        history = tuple(HistoryEntry(name, (user + place) % 3 != 0, 4.0) for place, name in enumerate(names))
        target = items[(7 * user + split) % len(items)]
        return Sample(f"{split}-{user}", f"person-{user}", target, user % 2, history)

    config = {
        "protocol": {"name": "temporal", "version": 1},
        "feedback": {"kind": "explicit", "like_above": 3.0},
        "domain": {"noun": "movie", "yes": "Yes.", "no": "No."},
    }
    samples = {split: [sample(at, user) for user in range(users)] for at, split in enumerate(SPLITS)}
    return write_sample_set(directory, titles, samples, config=config)


class FakeScorer:
    """Score of an item: its id, plus the ids liked, minus the ids disliked, times 0.01. Remembers what it was asked.

    While `gate` is closed, `score` waits in it; `entered` counts how often it has come there.
    """

    log_odds = True

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.asked: list[list[CandidateList]] = []
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.raises: BaseException | None = None
        self.gate.set()

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        self.asked.append(list(lists))
        self.entered.release()
        assert self.gate.wait(LONG)
        if self.raises is not None:
            raise self.raises
        return Scores(tuple(np.array([value_of(asked, item) for item in asked.item_ids]) for asked in lists))

    def wait_until_asked(self) -> None:
        """Wait until `score` has been called once more."""
        assert self.entered.acquire(timeout=LONG)

    @property
    def asked_items(self) -> list[str]:
        """All items that it was asked for, in order."""
        return [item for lists in self.asked for asked in lists for item in asked.item_ids]


def value_of(asked: CandidateList, item: str) -> float:
    """What `FakeScorer` gives."""
    return 0.01 * (int(item) + sum(int(entry.item_id) * (1 if entry.liked else -1) for entry in asked.history))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
