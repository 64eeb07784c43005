"""Ranking: a scorer and frozen candidate lists in; a per-candidate score file and NDCG@10, Recall@10, MRR out.

Every model is shown beside its rivals: a random ranker and the priors. A prior that gives one score to all items of a
list (the like-rate) ties them all, and by `recalign.metrics.ranking` gets what the random ranker gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import polars as pl

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
from recalign.data.schema import SCORES
from recalign.errors import DataError
from recalign.experiment.score_file import ScoreFile, score_lists
from recalign.metrics.ranking import RankingMetric, candidate_values, metric_frame
from recalign.metrics.significance import (
    RESAMPLES,
    Interval,
    PairedDifference,
    bootstrap_ci,
    holm,
    paired_bootstrap,
)
from recalign.scoring.base import Scorer, Scores

RANDOM: Final = f"{PREFIX}random"
METRICS: Final[tuple[RankingMetric, ...]] = get_args(RankingMetric)
CAVEAT: Final = (
    "The negatives are drawn uniformly from the catalogue, most of which few people meet, so popularity alone tells "
    "many of them from something that somebody chose. It is a strong rival here, and the figures compare models on "
    "these lists only."
)


@dataclass(frozen=True)
class RankingTask:
    """Frozen candidate lists with the histories to rank them for.

    Attributes:
        lists: The candidates.
        questions: The same as a scorer is asked.
        split: The split that they come from.
        data: Fingerprint of the prepared data.
        fingerprint: Of the candidates.
    """

    lists: tuple[RankingList, ...]
    questions: tuple[CandidateList, ...]
    split: str
    data: str
    fingerprint: str


@dataclass(frozen=True)
class RankingEvaluation:
    """One model on one task.

    Attributes:
        scores: The per-candidate score file.
        values: The metrics of each list (`recalign.metrics.ranking.candidate_values`).
        metrics: JSON-ready: model, split, seed, candidates (fingerprint), lists, users, items (per list), and ndcg,
            recall, mrr, each with its interval (ndcg_ci: [low, high]; None with fewer than two users).
    """

    scores: ScoreFile
    values: pl.DataFrame
    metrics: dict[str, Any]

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.metrics["model"])

    @property
    def is_rival(self) -> bool:
        """Whether this is what models are compared with: the random ranker or a prior."""
        return self.model.startswith(PREFIX)


class RandomRanker:
    """Says the same of every item: all tie, and ties count by expectation. Its figures are exact, not simulated."""

    name = RANDOM
    log_odds = False

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Zeros."""
        return Scores(tuple(np.zeros(len(each.item_ids)) for each in lists))


def load_task(directory: Path, sample_set: SampleSet) -> RankingTask:
    """Read frozen candidates of this data.

    Raises:
        ArtifactError: There are none, they are damaged, or they were drawn from other data.
    """
    lists, manifest = read_ranking_candidates(directory, sample_set)
    split = str(manifest.config["split"])
    history = {sample.sample_id: sample.history for sample in sample_set.samples(split)}
    questions = tuple(CandidateList(each.user_id, history[each.sample_id], each.item_ids) for each in lists)
    return RankingTask(tuple(lists), questions, split, sample_set.fingerprint, manifest.fingerprint)


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

    Args:
        scorer: Any scorer of the data's items.
        task: The lists.
        seed: Training seed of the model, recorded in the file.
        name: Name of the model in the file; the scorer's own by default.

    Raises:
        ModelError: The scorer gave a score that is not finite, or not one per candidate.
    """
    ids = [each.sample_id for each in task.lists]
    frame = score_lists(scorer, task.questions, ids, seed=seed, name=name or scorer.name)
    labels = [int(item == each.truth) for each in task.lists for item in each.item_ids]
    frame = frame.with_columns(pl.Series("label", labels, dtype=SCORES["label"]))
    return ScoreFile(frame, scorer.log_odds, task.split, task.data, task.fingerprint)


def measure(scores: ScoreFile, *, resamples: int = RESAMPLES, seed: int = 0) -> RankingEvaluation:
    """The metrics of a per-candidate score file, with user-clustered intervals.

    Raises:
        DataError: It is no file of candidates, or holds broken lists (`candidate_values`).
    """
    if not scores.candidates:
        raise DataError("score file", found="a row per sample", expected="a row per ranking candidate")
    values = candidate_values(scores.frame)
    metrics: dict[str, Any] = {
        "model": scores.frame["model"][0],
        "split": scores.split,
        "seed": int(scores.frame["seed"][0]),
        "candidates": scores.candidates,
        "lists": values.height,
        "users": values["user_id"].n_unique(),
        "items": scores.frame.height / values.height,
    }
    for metric in METRICS:
        interval = bootstrap_ci("mean", metric_frame(values, metric), n_resamples=resamples, seed=seed)
        metrics[metric] = float(values[metric].to_numpy().mean())
        metrics[f"{metric}_ci"] = None if interval is None else [interval.low, interval.high]
    return RankingEvaluation(scores, values, metrics)


def rivals(
    task: RankingTask, priors: Sequence[Scorer], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[RankingEvaluation]:
    """The random ranker and the priors on the task."""
    return [measure(score_task(each, task), resamples=resamples, seed=seed) for each in (RandomRanker(), *priors)]


def group_seeds(evaluations: Sequence[RankingEvaluation]) -> dict[str, list[RankingEvaluation]]:
    """Evaluations by model name: those of one name are its training seeds."""
    groups: dict[str, list[RankingEvaluation]] = {}
    for each in evaluations:
        groups.setdefault(each.model, []).append(each)
    return groups


def interval_over_seeds(
    group: Sequence[RankingEvaluation], metric: RankingMetric, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """User-clustered interval of the mean over the seeds of one model."""
    frames = [metric_frame(each.values, metric) for each in group]
    return bootstrap_ci("mean", frames, n_resamples=resamples, seed=seed)


@dataclass(frozen=True, slots=True)
class Comparison:
    """NDCG@10 of a model minus that of a rival on the same lists.

    Attributes:
        model: Name of the model.
        rival: Name of the rival.
        difference: Mean over seeds, in [-1, 1].
        interval: Paired, user-clustered; None with fewer than two users.
        p_value: Two-sided, Holm-adjusted for all comparisons made together; None as `interval`.
        above_zero: Whether the whole interval lies above zero.
    """

    model: str
    rival: str
    difference: float
    interval: Interval | None
    p_value: float | None
    above_zero: bool

    def as_json(self) -> dict[str, Any]:
        """JSON-ready; the interval is [low, high]."""
        interval = None if self.interval is None else [self.interval.low, self.interval.high]
        return {**asdict(self), "interval": interval}


def against_rivals(
    evaluations: Sequence[RankingEvaluation], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Every model against every rival by NDCG@10; several seeds count as their mean.

    Raises:
        DataError: They do not rank the same lists.
    """
    lists = {each.scores.candidates for each in evaluations}
    if len(lists) > 1:
        found = f"{len(lists)} sets of candidate lists"
        raise DataError("ranking evaluations to compare", found=found, expected="one that all models rank")
    groups = group_seeds(evaluations)
    found_pairs: list[tuple[str, str, PairedDifference]] = []
    for model, group in groups.items():
        for rival, other in groups.items():
            if group[0].is_rival or not other[0].is_rival:
                continue
            frames = [[metric_frame(each.values, "ndcg") for each in side] for side in (group, other)]
            difference = paired_bootstrap("mean", frames[0], frames[1], n_resamples=resamples, seed=seed)
            assert difference is not None  # the mean of at least one list is defined
            found_pairs.append((model, rival, difference))
    tested = [place for place, pair in enumerate(found_pairs) if pair[2].p_value is not None]
    adjusted = dict(zip(tested, holm([found_pairs[place][2].p_value or 0.0 for place in tested]), strict=True))
    return [
        Comparison(model, rival, each.difference, each.interval, adjusted.get(place), each.above_zero)
        for place, (model, rival, each) in enumerate(found_pairs)
    ]
