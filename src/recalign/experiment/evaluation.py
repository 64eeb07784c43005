"""A scorer and a split in; a score file and its metrics out. Metrics are computed from score files alone.

The priors that the data allows are evaluated beside every model (`priors_for`), and `compare` tells by a paired,
user-clustered interval whether one model is better than another on the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from recalign.artifacts import append_info, read_manifest
from recalign.baselines.priors import NEEDS_FIT, ItemStatistics, Prior, prior
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError
from recalign.experiment.score_file import LABEL_MASS, ScoreFile, score_split
from recalign.metrics.calibration import apply_temperature, ece, fit_temperature, probability
from recalign.metrics.classification import accuracy, auc, gauc, log_loss, undefined_reason
from recalign.metrics.ranking import labelled_ndcg
from recalign.metrics.significance import (
    RESAMPLES,
    Interval,
    PairedDifference,
    Statistic,
    bootstrap_ci,
    paired_bootstrap,
)
from recalign.scoring.base import Scorer

NO_LOG_ODDS: Final = "the scores are an order, not log-odds"


@dataclass(frozen=True)
class Evaluation:
    """One model on one split.

    Attributes:
        scores: The per-sample score file.
        metrics: JSON-ready: model, split, seed, n, n_users, positive_share, auc, auc_ci ([low, high]), gauc, gauc_ci,
            gauc_users, labelled_ndcg (NDCG@10 within users' own labelled items), labelled_ndcg_ci, labelled_ndcg_users,
            labelled_ndcg_excluded (users without a liked item), logloss, ece, accuracy, temperature,
            logloss_calibrated, ece_calibrated, label_mass (only for language models: mean probability of the two
            answers together), and `reasons`: why a value is null.
    """

    scores: ScoreFile
    metrics: dict[str, Any]

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.metrics["model"])


def evaluate(
    scorer: Scorer,
    sample_set: SampleSet,
    split: str = "test",
    *,
    seed: int = 0,
    output: Path | None = None,
    resamples: int = RESAMPLES,
    calibrate: bool = True,
    name: str = "",
    run_dir: Path | None = None,
) -> Evaluation:
    """Score a split and compute its metrics.

    Args:
        scorer: Any scorer of the data's items.
        sample_set: Prepared data.
        split: "train", "valid" or "test".
        seed: Training seed of the model (a column of the score file); it seeds the resampling as well.
        output: Where to write the score file (Parquet); nowhere by default.
        resamples: Bootstrap replicates behind the intervals.
        calibrate: Fit a temperature on the validation split where it has samples. It reads validation labels, so leave
            it off for zero-shot and strict-k models. It changes `temperature` and `*_calibrated` only.
        name: Name of the model in table and file; the scorer's own by default.
        run_dir: The run that the scorer comes from, whose manifest logs each read of a test split.

    Raises:
        ConfigError: There is no such split.
        DataError: The split has no samples.
        ModelError: The scorer gave scores that are not finite.
        ArtifactError: `output` or the log cannot be written.
    """
    scores = score_split(scorer, sample_set, split, seed=seed, name=name)
    if run_dir is not None:
        log_test_read(run_dir, scores)  # before anyone can see a result
    if output is not None:
        scores.write(output)
    validation, reason = None, ""
    if not calibrate:
        reason = "validation labels were not to be used"
    elif split == "valid":
        reason = "the validation split itself is scored"
    elif sample_set.frame("valid").is_empty():
        reason = "there are no validation samples"
    elif scorer.log_odds:
        validation = score_split(scorer, sample_set, "valid", seed=seed, name=name)
    metrics = compute_metrics(scores, validation or reason, resamples=resamples, seed=seed)
    return Evaluation(scores, metrics)


def log_test_read(run_dir: Path, scores: ScoreFile) -> None:
    """Append to ``info["test_reads"]`` of the run's manifest that a test split was read; other splits are not logged.

    Raises:
        ArtifactError: `run_dir` holds no artefact, or cannot be written.
    """
    if scores.split != "test":
        return
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": scores.frame["model"][0],
        "data": scores.data,
        "n": scores.frame.height,
    }
    if scores.candidates:
        entry["candidates"] = scores.candidates
    append_info(run_dir, "test_reads", entry)


def validation_labels_seen(run_dir: Path, sample_set: SampleSet) -> bool:
    """Whether a tuned model has been selected on this data's validation labels, so that a temperature may see them too.

    Zero-shot and strict-k models have not.

    Raises:
        ArtifactError: `run_dir` holds no artefact.
    """
    seen = read_manifest(run_dir, verify=False).config.get("labels_seen", {})
    return bool(seen.get(sample_set.fingerprint, {}).get("valid", 0))


def compute_metrics(
    scores: ScoreFile,
    validation: ScoreFile | str = "no validation scores",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The metrics of `Evaluation.metrics`, from score files alone.

    Args:
        scores: What is measured.
        validation: What the temperature is fitted on, or the reason why there is none.
        resamples: Bootstrap replicates behind the intervals.
        seed: Seeds the resampling.

    Raises:
        DataError: The file is empty or holds NaN scores.
    """
    frame = scores.frame
    if frame.is_empty():
        raise DataError("score file", found="no rows", expected="at least one sample")
    labels, values = frame["label"].to_numpy(), frame["score"].to_numpy()
    within = gauc(labels, values, frame["user_id"].to_numpy())
    lists = labelled_ndcg(frame)
    reasons = {"auc": undefined_reason(labels), "gauc": within.reason, "labelled_ndcg": lists.reason}
    resampled: dict[str, tuple[Statistic, pl.DataFrame]]
    resampled = {"auc": ("auc", frame), "gauc": ("gauc", frame), "labelled_ndcg": ("mean", lists.per_user)}
    intervals = {
        key: bootstrap_ci(*each, n_resamples=resamples, seed=seed) if reasons[key] is None else None
        for key, each in resampled.items()
    }
    metrics: dict[str, Any] = {
        "model": frame["model"][0],
        "split": scores.split,
        "seed": int(frame["seed"][0]),
        "n": frame.height,
        "n_users": frame["user_id"].n_unique(),
        "positive_share": float(labels.mean()),
        "auc": auc(labels, values),
        "auc_ci": _as_list(intervals["auc"]),
        "gauc": within.value,
        "gauc_ci": _as_list(intervals["gauc"]),
        "gauc_users": within.n_users,
        "labelled_ndcg": lists.value,
        "labelled_ndcg_ci": _as_list(intervals["labelled_ndcg"]),
        "labelled_ndcg_users": lists.n_users,
        "labelled_ndcg_excluded": lists.excluded,
    }
    for key in intervals:
        if intervals[key] is None and reasons[key] is None:
            reasons[f"{key}_ci"] = "fewer than two users" if metrics["n_users"] < 2 else "most resamples are undefined"
    metrics |= _probability_metrics(scores, validation, reasons)
    if LABEL_MASS in frame.columns:
        metrics[LABEL_MASS] = float(frame[LABEL_MASS].to_numpy().mean())
    metrics["reasons"] = {key: reason for key, reason in reasons.items() if reason is not None}
    return metrics


def _probability_metrics(
    scores: ScoreFile, validation: ScoreFile | str, reasons: dict[str, str | None]
) -> dict[str, float | None]:
    metrics: dict[str, float | None]
    metrics = dict.fromkeys(("logloss", "ece", "accuracy", "temperature", "logloss_calibrated", "ece_calibrated"))
    if not scores.log_odds:
        reasons |= dict.fromkeys(metrics, NO_LOG_ODDS)
        return metrics
    labels, values = scores.frame["label"].to_numpy(), scores.frame["score"].to_numpy()
    metrics |= {
        "logloss": log_loss(labels, values),
        "ece": ece(labels, probability(values)),
        "accuracy": accuracy(labels, values),
    }
    if isinstance(validation, str):
        reasons["temperature"] = validation
        return metrics
    temperature = fit_temperature(validation.frame["label"].to_numpy(), validation.frame["score"].to_numpy())
    calibrated = apply_temperature(values, temperature)
    return metrics | {
        "temperature": temperature,
        "logloss_calibrated": log_loss(labels, calibrated),
        "ece_calibrated": ece(labels, probability(calibrated)),
    }


def _as_list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def compare(
    a: Evaluation | Sequence[Evaluation],
    b: Evaluation | Sequence[Evaluation],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedDifference | None]:
    """AUC and GAUC of a minus those of b on the same samples, with paired user-clustered intervals.

    Several evaluations of one model (one per training seed) count as their mean. A difference is None where the metric
    is undefined on these samples.

    Raises:
        DataError: They are not evaluations of the same samples.
    """
    left, right = ([a] if isinstance(a, Evaluation) else list(a)), ([b] if isinstance(b, Evaluation) else list(b))
    first, second = [each.scores.frame for each in left], [each.scores.frame for each in right]
    return {key: paired_bootstrap(key, first, second, n_resamples=resamples, seed=seed) for key in ("auc", "gauc")}


@dataclass(frozen=True)
class PriorSet:
    """The priors that a table shows, and one sentence on what they learned from (or why some are missing)."""

    scorers: tuple[Prior, ...]
    note: str


def priors_for(sample_set: SampleSet, fit: SampleSet | None = None) -> PriorSet:
    """The priors to show beside a model.

    Rule: ``like-rate`` always. The item-based ones learn from the train split of `fit` where it is given, otherwise
    from the train split of the evaluated data itself, and are left out where that is empty.

    Raises:
        DataError: `fit` has no train samples.
    """
    source = fit
    if source is None and not sample_set.frame("train").is_empty():
        source = sample_set
    if source is None:
        note = "Item-based priors are left out: the data has no train split and no --fit DIR was given."
        return PriorSet((prior("like-rate"),), note)
    statistics = ItemStatistics(source)
    where = "of --fit" if fit is not None else "of the evaluated data itself"
    note = f"Item-based priors learned from {statistics.interactions:,} interactions in the train split {where}."
    return PriorSet(tuple(prior(name, statistics, sample_set.catalog) for name in NEEDS_FIT), note)


def pick_prior(priors: PriorSet, bare_name: str) -> Prior:
    """The prior of that name in the set.

    Raises:
        ConfigError: It is an item-based one, and there was nothing to learn from.
    """
    for scorer in priors.scorers:
        if scorer.name == f"prior:{bare_name}":
            return scorer
    raise ConfigError(
        f"prior:{bare_name} has nothing to learn from",
        found="data without a train split",
        expected="prepared data with train samples",
        hint="Name it with --fit DIR.",
    )
