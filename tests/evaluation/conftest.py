"""A scorer with a simple taste, and prepared data for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set

TITLES = {str(i): f"Title {i}" for i in range(10)}


class Taste:
    """Log-odds 2 for items with an even id, -2 for the others, plus 0.1 per liked history entry."""

    name = "taste"

    def __init__(self, *, log_odds: bool = True, mass: bool = False, flip: bool = False) -> None:
        self.log_odds, self.mass, self.sign = log_odds, mass, -1 if flip else 1

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        values = tuple(np.array([self._value(each, item) for item in each.item_ids]) for each in lists)
        return Scores(values, tuple(np.full(v.shape, 0.5) for v in values) if self.mass else None)

    def _value(self, each: CandidateList, item: str) -> float:
        return self.sign * (2.0 if int(item) % 2 == 0 else -2.0) + 0.1 * sum(entry.liked for entry in each.history)


def samples(prefix: str, users: int, seed: int, wrong: float = 0.2) -> list[Sample]:
    """Six targets per user; even items are liked, but for a share of `wrong`."""
    rng = np.random.default_rng(seed)
    result = []
    for user in range(users):
        for place in range(6):
            item = int(rng.integers(0, 10))
            liked = (item % 2 == 0) != (rng.random() < wrong)
            history = tuple(HistoryEntry(str(i), bool(rng.random() < 0.5)) for i in rng.permutation(10)[:4])
            result.append(Sample(f"{prefix}{user}-{place}", f"u{user}", str(item), int(liked), history))
    return result


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SampleSet]:
    def build(**splits: list[Sample]) -> SampleSet:
        place = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        return write_sample_set(place, TITLES, splits)

    return build


@pytest.fixture
def data(make: Callable[..., SampleSet]) -> SampleSet:
    return make(train=samples("t", 20, 0), valid=samples("v", 20, 1), test=samples("e", 20, 2))
