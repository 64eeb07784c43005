"""Retrieving and ranking over the full catalogue, end to end: where the liked targets of a split come out.

No negatives are drawn: each target competes with all items that its user has not met. What stage one misses is lost, so
its recall is the ceiling of every figure of stage two. Intervals and comparisons are those of any panel: each target is
a list, and users are resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.samples import CandidateList, Sample, SampleSet
from recalign.errors import DataError
from recalign.evaluation.document import DIGITS, Comparison, Document, Estimate, Row
from recalign.evaluation.metric import ordered_metrics
from recalign.evaluation.panel import compare
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings, measure_row, rounded
from recalign.metrics.beyond_accuracy import Beyond, beyond_accuracy
from recalign.metrics.ranking import as_frame
from recalign.metrics.significance import bootstrap_ci
from recalign.retrieval.index import Index
from recalign.retrieval.interactions import interactions_of
from recalign.scoring.base import Scorer

CUTOFFS: Final = (50, 100, 200)  # of stage one
SHOWN: Final = 10  # items of a list that a user sees
SAID: Final = "full catalogue, no sampled negatives"
STAGE_ONE: Final = "retriever"
COMPARED: Final = ("ndcg", "mrr")  # metrics by which stage two is held against stage one
_BATCH: Final = 16  # lists per call of the scorer

Progress = Callable[[int, int], None]


class Stage(Document):
    """One order of the candidates.

    Attributes:
        name: "retriever", or that of the scorer.
        metrics: Over the targets, by the name of the metric: ``ndcg``, ``recall``, ``mrr``, each in [0, 1]. A target
            that was not retrieved counts 0.
        beyond: What the shown lists are like.
    """

    name: str
    metrics: dict[str, Estimate]
    beyond: Beyond


class FullRanking(Document):
    """Both stages.

    Attributes:
        candidates: That these are no sampled metrics.
        targets, users, items: How many liked targets of how many users were looked for, among how many items.
        retrieve: How many candidates were ranked.
        recall: Recall of stage one at 50, 100 and 200.
        ceiling: Share of the targets among the candidates: what a perfect ranking of them gets in each metric.
        stages: The retriever's own order, then one stage per scorer.
        comparisons: Each scorer minus the retriever, by `COMPARED`. One family.
    """

    candidates: str = SAID
    targets: int
    users: int
    items: int
    retrieve: int
    recall: dict[int, Estimate]
    ceiling: Estimate
    stages: tuple[Stage, ...]
    comparisons: tuple[Comparison, ...] = ()


def rank_full(
    index: Index,
    scorers: Mapping[str, Scorer],
    data: SampleSet,
    split: str = "test",
    *,
    retrieve: int = 200,
    settings: TestSettings = TestSettings(),
    progress: Progress | None = None,
) -> FullRanking:
    """Retrieve candidates for each liked target of a split, and have each scorer rank them.

    The history of a target is the user's whole past for the retriever and for what counts as met; a scorer sees what
    it always sees. `settings` are those of the intervals. `progress` is told of lists ranked, over all scorers.

    Raises:
        DataError: The split has no liked target, or nothing was retrieved for any.
        ConfigError: No such split, or `retrieve` is below 1.
    """
    samples = [sample for sample in data.samples(split) if sample.label == 1]
    if not samples:
        raise DataError(f"split {split!r} of {data.path}", found="no liked target", hint="Choose another split.")
    longest = max(retrieve, *CUTOFFS)
    found = [index.retrieve(sample.past, longest).item_ids for sample in samples]
    candidates = [ids[:retrieve] for ids in found]
    orders = {STAGE_ONE: candidates}
    for number, (name, scorer) in enumerate(scorers.items()):
        orders[name] = []
        for start in range(0, len(samples), _BATCH):
            part = slice(start, start + _BATCH)
            orders[name] += _ranked(scorer, samples[part], candidates[part])
            if progress is not None:
                progress(number * len(samples) + len(orders[name]), len(scorers) * len(samples))
    ranks, shown = _ranks(samples, found), _Shown(index, data, samples)
    rows = [_row(name, samples, lists, settings) for name, lists in orders.items()]
    compared = [entry for entry in ordered_metrics() if entry[0] in COMPARED]
    pairs = [(name, STAGE_ONE) for name in scorers]
    return FullRanking(
        targets=len(samples),
        users=len({sample.user_id for sample in samples}),
        items=len(index.catalog),
        retrieve=retrieve,
        recall={cutoff: _share(samples, ranks <= cutoff, settings) for cutoff in CUTOFFS},
        ceiling=_share(samples, ranks <= retrieve, settings),
        stages=tuple(
            Stage(name=name, metrics=scored.row.metrics, beyond=shown.beyond(lists))
            for scored, (name, lists) in zip(rows, orders.items(), strict=True)
        ),
        comparisons=compare(rows, pairs, settings, compared),
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


def _row(name: str, samples: Sequence[Sample], lists: Sequence[tuple[str, ...]], settings: TestSettings) -> ScoredRow:
    """One order of the candidates, with its metrics and what they are resampled from."""
    ranks = _ranks(samples, lists)
    top = ranks <= SHOWN
    values = {"ndcg": np.where(top, 1 / np.log2(ranks + 1), 0.0), "recall": top.astype(np.float64), "mrr": 1 / ranks}
    scores = RowScores(candidates=(pl.DataFrame({**_keys(samples), **values}),))
    return ScoredRow(measure_row(Row(model=name, kind="other"), scores, settings), scores)


def _share(samples: Sequence[Sample], hits: NDArray[np.bool_], settings: TestSettings) -> Estimate:
    """The share of targets that are hit, with its interval."""
    keys = _keys(samples)
    frame = as_frame(keys["sample_id"], keys["user_id"], hits.astype(np.float64))
    ci = rounded(bootstrap_ci("mean", frame, n_resamples=settings.resamples, seed=settings.seed))
    return Estimate(mean=round(float(hits.mean()), DIGITS), ci=ci, reason="" if ci else "fewer than two users")


def _keys(samples: Sequence[Sample]) -> dict[str, pl.Series]:
    return {name: pl.Series([getattr(sample, name) for sample in samples]) for name in ("sample_id", "user_id")}


class _Shown:
    """Measures what is shown of one set of targets."""

    def __init__(self, index: Index, data: SampleSet, samples: Sequence[Sample]) -> None:
        self._index = index
        met = interactions_of(data, index.stock)
        self._met, self._users = np.diff(met.indptr).astype(np.float64), met.shape[1]
        self._histories = [index.stock.places(entry.item_id for entry in sample.past) for sample in samples]

    def beyond(self, lists: Sequence[tuple[str, ...]]) -> Beyond:
        """What the first items of one order of the candidates are like."""
        shown = [ids[:SHOWN] for ids in lists]
        return beyond_accuracy(
            [self._index.stock.places(ids) for ids in shown],
            self._histories,
            self._met,
            self._users,
            [self._index.similarity(ids) for ids in shown],
        )
