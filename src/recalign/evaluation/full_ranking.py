"""Retrieving and ranking over the full catalogue, end to end: where the liked targets of a split come out.

No negatives are drawn: each target competes with all items that its user has not met. What stage one misses is lost, so
its recall is the ceiling of every figure of stage two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recalign.data.samples import CandidateList, Sample, SampleSet
from recalign.errors import DataError
from recalign.metrics.beyond_accuracy import Beyond, beyond_accuracy
from recalign.retrieval.index import Index
from recalign.retrieval.interactions import interactions_of
from recalign.scoring.base import Scorer

CUTOFFS: Final = (50, 100, 200)  # of stage one
SHOWN: Final = 10  # items of a list that a user sees
SAID: Final = "full catalogue, no sampled negatives"
STAGE_ONE: Final = "retriever"
_BATCH: Final = 16  # lists per call of the scorer

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Stage:
    """Means over the targets, in [0, 1] each, and what the shown lists are like.

    `name` is "retriever" or that of the scorer that ranked its candidates. A target that was not retrieved counts 0.
    """

    name: str
    ndcg: float
    recall: float
    mrr: float
    beyond: Beyond


@dataclass(frozen=True)
class FullRanking:
    """Both stages.

    Attributes:
        targets, items: How many liked targets were looked for, among how many items.
        retrieve: How many candidates were ranked.
        recall: Recall of stage one at 50, 100 and 200.
        ceiling: Share of the targets among the candidates: what a perfect ranking of them gets in each metric.
        stages: The retriever's own order, then one stage per scorer.
    """

    targets: int
    items: int
    retrieve: int
    recall: Mapping[int, float]
    ceiling: float
    stages: tuple[Stage, ...]

    def as_json(self) -> dict[str, object]:
        """JSON-ready, with the word that these are no sampled metrics."""
        return {"candidates": SAID, **asdict(self)}


def rank_full(
    index: Index,
    scorers: Mapping[str, Scorer],
    data: SampleSet,
    split: str = "test",
    *,
    retrieve: int = 200,
    progress: Progress | None = None,
) -> FullRanking:
    """Retrieve candidates for each liked target of a split, and have each scorer rank them.

    The history of a target is the user's whole past for the retriever and for what counts as met; a scorer sees what
    it always sees. `progress` is told of lists ranked, over all scorers.

    Raises:
        DataError: The split has no liked target, or nothing was retrieved for any.
        ConfigError: No such split, or `retrieve` is below 1.
    """
    samples = [sample for sample in data.samples(split) if sample.label == 1]
    if not samples:
        raise DataError(f"split {split!r} of {data.path}", found="no liked target", hint="Choose another split.")
    longest = max(retrieve, *CUTOFFS)
    found = [index.retrieve(sample.past, longest).item_ids for sample in samples]
    ranks = _ranks(samples, found)
    candidates = [ids[:retrieve] for ids in found]
    shown = _Shown(index, data, samples)
    stages = [shown.stage(STAGE_ONE, candidates)]
    for number, (name, scorer) in enumerate(scorers.items()):
        orders: list[tuple[str, ...]] = []
        for start in range(0, len(samples), _BATCH):
            part = slice(start, start + _BATCH)
            orders += _ranked(scorer, samples[part], candidates[part])
            if progress is not None:
                progress(number * len(samples) + len(orders), len(scorers) * len(samples))
        stages.append(shown.stage(name, orders))
    return FullRanking(
        targets=len(samples),
        items=len(index.catalog),
        retrieve=retrieve,
        recall={cutoff: float((ranks <= cutoff).mean()) for cutoff in CUTOFFS},
        ceiling=float((ranks <= retrieve).mean()),
        stages=tuple(stages),
    )


def _ranked(scorer: Scorer, samples: Sequence[Sample], candidates: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The candidates in the order of their scores; equal ones stay in the retriever's order."""
    lists = [
        CandidateList(sample.user_id, sample.history, ids, sample.earlier)
        for sample, ids in zip(samples, candidates, strict=True)
    ]
    orders = [np.argsort(-values, kind="stable") for values in scorer.score(lists).values]
    return [tuple(ids[place] for place in order) for ids, order in zip(candidates, orders, strict=True)]


def _ranks(samples: Sequence[Sample], lists: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
    """The rank of each target in its list, from 1; infinite where it is not there."""
    return np.array(
        [
            ids.index(sample.item_id) + 1 if sample.item_id in ids else np.inf
            for sample, ids in zip(samples, lists, strict=True)
        ]
    )


class _Shown:
    """Measures stages of one set of targets."""

    def __init__(self, index: Index, data: SampleSet, samples: Sequence[Sample]) -> None:
        self._index, self._samples = index, samples
        met = interactions_of(data, index.stock)
        self._met, self._users = np.diff(met.indptr).astype(np.float64), met.shape[1]
        self._histories = [index.stock.places(entry.item_id for entry in sample.past) for sample in samples]

    def stage(self, name: str, lists: Sequence[tuple[str, ...]]) -> Stage:
        """The metrics of one order of the candidates."""
        ranks = _ranks(self._samples, lists)
        shown = [ids[:SHOWN] for ids in lists]
        beyond = beyond_accuracy(
            [self._index.stock.places(ids) for ids in shown],
            self._histories,
            self._met,
            self._users,
            [self._index.similarity(ids) for ids in shown],
        )
        top = ranks <= SHOWN
        ndcg, mrr = np.where(top, 1 / np.log2(ranks + 1), 0.0), 1 / ranks
        return Stage(name, float(ndcg.mean()), float(top.mean()), float(mrr.mean()), beyond)
