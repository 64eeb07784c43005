"""The priors that stand beside every model: what they learn from, and their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from recalign.baselines.priors import NEEDS_FIT, PREFIX, ItemStatistics, Prior, prior
from recalign.baselines.recent import Recency
from recalign.data.samples import SampleSet
from recalign.evaluation.document import Learned, RecentWeights, Row
from recalign.evaluation.ranking import RandomRanker, RankingTask, score_task
from recalign.evaluation.rows import RowScores, ScoredRow
from recalign.evaluation.score import score_split
from recalign.evaluation.score_file import ScoreFile


@dataclass(frozen=True)
class PriorSet:
    """The priors of one data set, and the number of distinct train interactions that they learned from, if any.

    `recency` says how the ``recent`` ones weigh; None where there was nothing to learn from.
    """

    scorers: tuple[Prior, ...]
    interactions: int | None
    recency: Recency | None = None

    def pick(self, bare_name: str) -> Prior:
        """The prior of that name.

        Raises:
            ConfigError: It is an item-based one, and there was nothing to learn from.
        """
        named = {scorer.name: scorer for scorer in self.scorers}
        return named.get(f"{PREFIX}{bare_name}") or prior(bare_name)


@dataclass(frozen=True)
class Fold:
    """One part of the evaluated data: the data, what its priors may learn from besides, and its candidate lists.

    Parts of one `order` (the order seed) are folds of the same samples, and pooled.
    """

    data: SampleSet
    fit: SampleSet | None = None
    task: RankingTask | None = None
    order: int = 0


def priors_for(data: SampleSet, fit: SampleSet | None = None, split: str = "test") -> PriorSet:
    """The priors to show beside a model: ``like-rate``, and the item-based ones where there is something to learn from.

    They learn from the train split of `fit` where it is given, otherwise from that of the evaluated data itself. The
    validation split of the same data chooses how the ``recent`` ones weigh, unless it is the `split` that they score.

    Raises:
        DataError: `fit` has no train samples.
    """
    if fit is None and data.frame("train").is_empty():
        return PriorSet((prior("like-rate"),), None)
    source = fit or data
    statistics = _statistics(source)
    own = split == "valid" and source.fingerprint == data.fingerprint
    recency = Recency(reason="its validation split is what is scored") if own else statistics.recency
    scorers = tuple(prior(name, statistics, data.catalog, recency) for name in NEEDS_FIT)
    return PriorSet(scorers, statistics.interactions, recency)


@lru_cache(maxsize=1)
def _statistics(source: SampleSet) -> ItemStatistics:
    """Counted once for all folds and calls in a row that learn from the same data, which is read-only."""
    return ItemStatistics(source)


def prior_rows(
    folds: Sequence[Fold], split: str, *, fit_name: str = "", seed: int = 0, calibrate: bool | None = None
) -> tuple[list[ScoredRow], Learned]:
    """Rows of all priors, folds pooled, and of a random ranker where candidates are ranked.

    `fit_name` names the data set that `Fold.fit` comes from. Other arguments are those of `score_split`.

    Returns:
        The rows without metrics, and what the priors learned from.

    Raises:
        DataError: The split is empty, or `Fold.fit` has no train samples.
    """
    samples: defaultdict[str, list[ScoreFile]] = defaultdict(list)
    candidates: defaultdict[str, list[ScoreFile]] = defaultdict(list)
    sets = [priors_for(fold.data, fold.fit, split) for fold in folds]
    for fold, priors in zip(folds, sets, strict=True):
        for scorer in priors.scorers:
            samples[scorer.name].append(score_split(scorer, fold.data, split, seed=seed, calibrate=calibrate))
        if fold.task is not None:
            for ranker in (*priors.scorers, RandomRanker()):
                candidates[ranker.name].append(score_task(ranker, fold.task, seed=seed))
    rows = [
        ScoredRow(
            Row(model=name, kind="prior"),
            RowScores.of(
                [samples[name]] if name in samples else [],
                [candidates[name]] if name in candidates else [],
                [fold.order for fold in folds],
            ),
        )
        for name in {**samples, **candidates}
    ]
    interactions = tuple(priors.interactions for priors in sets if priors.interactions is not None)
    weights = tuple(RecentWeights.of(priors.recency) for priors in sets if priors.recency is not None)
    return rows, Learned(fit=fit_name, interactions=interactions, recent=weights)
