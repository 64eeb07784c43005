"""The central interface: a `Scorer` turns candidate lists into `Scores`.

A sample's target is scored like a candidate; ranking, baselines, evaluation and serving use the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recalign.data.samples import CandidateList, Sample


@dataclass(frozen=True, slots=True)
class Scores:
    """One float64 array per candidate list, in the order of its `item_ids`; a higher score means "liked more".

    Attributes:
        values: Finite scores. Where the scorer's `log_odds` is true they are log-odds of "liked", so
            ``1 / (1 + exp(-value))`` is the predicted probability; otherwise only their order means something.
        label_mass: Probability mass in [0, 1] that a language model puts on its two label answers together (how much of
            its answer is an answer at all), shaped like `values`; None for scorers that are no language model.
    """

    values: tuple[NDArray[np.float64], ...]
    label_mass: tuple[NDArray[np.float64], ...] | None = None

    def flat(self) -> NDArray[np.float64]:
        """All scores in one array, list after list."""
        return np.concatenate(self.values) if self.values else np.empty(0)


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores items for a history and keeps to `recalign.testing.ScorerContract`.

    Values are finite. They depend neither on the other lists and items of the call (to 1e-5 in fp32) nor on calls
    before it.
    """

    @property
    def name(self) -> str:
        """Short name for tables and score files."""

    @property
    def log_odds(self) -> bool:
        """Whether scores are log-odds (LogLoss and ECE are defined) or only an order."""

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score every item of every list. An empty sequence gives empty `Scores`."""


@runtime_checkable
class Telling(Protocol):
    """A scorer that takes its time: it calls `progress`, where there is one, with (items scored, items to score)."""

    progress: Callable[[int, int], None] | None


@contextmanager
def watched(scorer: Scorer, progress: Callable[[int, int], None] | None) -> Iterator[None]:
    """Have a scorer tell its progress within the context, if it is one that can."""
    if not isinstance(scorer, Telling):
        yield
        return
    scorer.progress = progress
    try:
        yield
    finally:
        scorer.progress = None


def sample_lists(samples: Sequence[Sample]) -> list[CandidateList]:
    """The candidate lists that ask about the samples' targets: `Scores.flat` of them has one score per sample.

    Samples in a row that have one history (`leave-n-out`) share a list, so that a scorer reads the history once.
    """
    lists = []
    for _, group in groupby(samples, key=lambda sample: (sample.user_id, sample.history, len(sample.earlier))):
        first, *others = group
        items = (first.item_id, *(sample.item_id for sample in others))
        lists.append(CandidateList(first.user_id, first.history, items, first.earlier))
    return lists
