"""Ranking: a scorer and frozen candidate lists in, a per-candidate score file out.

A random ranker and the priors stand beside every model. A prior that gives one score to all items of a list (the
like-rate) ties them all, and by `recalign.metrics.ranking` gets what the random ranker gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from recalign.artifacts import read_manifest
from recalign.baselines.priors import PREFIX
from recalign.data.ranking_lists import (
    KIND,
    RankingConfig,
    RankingList,
    ranking_candidates,
    read_ranking_candidates,
    write_ranking_candidates,
)
from recalign.data.samples import CandidateList, SampleSet
from recalign.errors import ConfigError
from recalign.evaluation.document import Ranked
from recalign.evaluation.score import score_lists
from recalign.evaluation.score_file import ScoreFile, Temperature
from recalign.scoring.base import Scorer, Scores

RANDOM: Final = f"{PREFIX}random"
_RANKED: Final = Temperature(reason="candidates are ranked, and an order needs no temperature")


@dataclass(frozen=True)
class RankingTask:
    """Frozen candidate lists, and the same as `questions` to a scorer: with the histories to rank them for.

    `data` is the fingerprint of the prepared data, `fingerprint` that of the lists.
    """

    lists: tuple[RankingList, ...]
    questions: tuple[CandidateList, ...]
    split: str
    data: str
    fingerprint: str


def ranked(tasks: Sequence[RankingTask]) -> Ranked:
    """The lists of all folds together, counted."""
    lists = [candidates for task in tasks for candidates in task.lists]
    return Ranked(
        negatives=len(lists[0].item_ids) - 1,
        lists=len(lists),
        users=len({candidates.user_id for candidates in lists}),
        fingerprints=tuple(task.fingerprint for task in tasks),
    )


class RandomRanker:
    """Says the same of every item: all tie, and ties count by expectation. Its figures are exact, not simulated."""

    name = RANDOM
    log_odds = False

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Zeros."""
        return Scores(tuple(np.zeros(len(candidates.item_ids)) for candidates in lists))


def load_task(directory: Path, sample_set: SampleSet, split: str | None = None) -> RankingTask:
    """Read frozen candidates of this data, and of this split if one is given.

    Raises:
        ArtifactError: There are none, they are damaged, or they were drawn from other data.
        ConfigError: They come from another split.
    """
    lists, manifest = read_ranking_candidates(directory, sample_set)
    drawn = str(manifest.config["split"])
    if split not in (None, drawn):
        raise ConfigError(
            f"candidates {directory}",
            found=f"lists of split {drawn}",
            expected=f"split {split}",
            hint=f"Pass --split {drawn}, or draw them: recalign candidates {sample_set.path} --split {split}",
        )
    asked = {sample.sample_id: sample for sample in sample_set.samples(drawn)}
    questions = tuple(
        CandidateList(it.user_id, asked[it.sample_id].history, it.item_ids, asked[it.sample_id].earlier) for it in lists
    )
    return RankingTask(tuple(lists), questions, drawn, sample_set.fingerprint, manifest.fingerprint)


def freeze(sample_set: SampleSet, config: RankingConfig, directory: Path) -> RankingTask:
    """Draw candidates and freeze them in `directory`, or read those that it holds already of this data and config.

    Raises:
        ConfigError, DataError: See `ranking_candidates`.
        ArtifactError: The directory holds something else or damaged candidates, or cannot be written.
    """
    if directory.exists():
        manifest = read_manifest(directory, kind=KIND)
        same = RankingConfig.model_validate(manifest.config) == config
        if same and manifest.parents.get("samples") == sample_set.fingerprint:
            return load_task(directory, sample_set)
    lists, counts = ranking_candidates(sample_set, config)
    parent = sample_set.fingerprint
    write_ranking_candidates(directory, lists, counts, config, parent=parent, overwrite=directory.exists())
    return load_task(directory, sample_set)


def score_task(scorer: Scorer, task: RankingTask, *, seed: int = 0, name: str = "") -> ScoreFile:
    """Score all candidates; `label` is 1 for the truth of a list, 0 for its negatives.

    The file records `seed`, the training seed of the model, and its `name`, by default the scorer's own.

    Raises:
        ModelError: The scorer gave a score that is not finite, or not one per candidate.
    """
    ids = [candidates.sample_id for candidates in task.lists for _ in candidates.item_ids]
    labels = [int(item == candidates.truth) for candidates in task.lists for item in candidates.item_ids]
    frame = score_lists(scorer, task.questions, ids, labels, seed=seed, name=name or scorer.name)
    return ScoreFile(frame, scorer.log_odds, task.split, task.data, task.fingerprint, _RANKED)
