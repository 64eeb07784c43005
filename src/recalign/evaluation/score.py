"""A scorer in, a score file out: of a split or of candidate lists. Reads of a test split are logged.

A temperature is fitted on validation labels. So priors get one, which no label can have selected, and models that were
selected on validation labels of this very data. Zero-shot and strict-k models have seen none of them and get none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recalign.artifacts import append_info, read_manifest
from recalign.baselines.priors import PREFIX
from recalign.data.samples import CandidateList, Sample, SampleSet
from recalign.data.schema import LABEL_MASS, SCORES, SPLITS
from recalign.errors import ConfigError, DataError, ModelError
from recalign.evaluation.score_file import ScoreFile, Temperature
from recalign.metrics.classification import fit_temperature
from recalign.scoring.base import Scorer, sample_lists

NO_LOG_ODDS: Final = "the scores are an order, not log-odds"
NOT_ALLOWED: Final = Temperature(reason="validation labels were not to be used")


def score_split(
    scorer: Scorer,
    data: SampleSet,
    split: str,
    *,
    seed: int = 0,
    name: str = "",
    model: Path | None = None,
    calibrate: bool | None = None,
) -> ScoreFile:
    """Score every sample of a split, and fit a temperature where that is allowed.

    Args:
        scorer: Any scorer of the data's items.
        data: Prepared data.
        split: "train", "valid" or "test".
        seed, name: Training seed and name of the model, recorded in the file; by default the scorer's own name.
        model: The directory that the scorer comes from. Its manifest logs each read of a test split, and says whether
            validation labels have been seen.
        calibrate: Whether to fit a temperature; by default as `may_fit` says.

    Raises:
        ConfigError: There is no such split.
        DataError: The split has no samples.
        ModelError: The scorer gave a score that is not finite, or not one per sample.
        ArtifactError: `model` holds no artefact, or its manifest cannot be written.
    """
    scores = _score_split(scorer, data, split, seed, name or scorer.name)
    log_test_read(model, scores)
    if calibrate is None:
        calibrate = may_fit(scorer, data, model)
    temperature = _fit(scorer, data, split) if calibrate else NOT_ALLOWED
    return ScoreFile(scores.frame, scores.log_odds, split, data.fingerprint, temperature=temperature)


def may_fit(scorer: Scorer, data: SampleSet, model: Path | None) -> bool:
    """Whether a temperature may be fitted on the data's validation labels.

    `model` is the directory that the scorer comes from; None for priors and untuned models.

    Raises:
        ArtifactError: `model` holds no artefact.
    """
    if model is None:
        return scorer.name.startswith(PREFIX)
    seen = read_manifest(model, verify=False).config.get("labels_seen", {})
    return bool(seen.get(data.fingerprint, {}).get("valid", 0))


def samples_of(data: SampleSet, split: str) -> list[Sample]:
    """The samples of a split.

    Raises:
        ConfigError: There is no such split.
        DataError: It has no samples.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}", expected=", ".join(SPLITS))
    samples = data.samples(split)
    if not samples:
        counts = ", ".join(f"{known} {data.frame(known).height}" for known in SPLITS)
        raise DataError(f"split {split!r} of the data", found=f"no samples ({counts})", hint="Choose another --split.")
    return samples


def log_test_read(model: Path | None, scores: ScoreFile) -> None:
    """Append to ``info["test_reads"]`` of a model's manifest, where there is a model, that a test split was read.

    Raises:
        ArtifactError: `model` holds no artefact, or cannot be written.
    """
    if model is None or scores.split != "test":
        return
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": scores.frame["model"][0],
        "data": scores.data,
        "n": scores.frame.height,
    }
    if scores.candidates:
        entry["candidates"] = scores.candidates
    append_info(model, "test_reads", entry)


def score_lists(
    scorer: Scorer,
    lists: Sequence[CandidateList],
    sample_ids: Sequence[str],
    labels: Sequence[int | None],
    *,
    seed: int,
    name: str,
) -> pl.DataFrame:
    """Score candidate lists: a row per item with the columns of `schema.SCORES`.

    Items are in the order of the lists, and so are `labels` and `sample_ids`, one per item; `label_mass` follows where
    the scorer is a language model. `seed` is the training seed of the model, `name` its name.

    Raises:
        ModelError: The scorer gave a score that is not finite, or not one per item.
    """
    scores = scorer.score(lists)
    values = scores.flat()
    sizes = [len(candidates.item_ids) for candidates in lists]
    if values.shape != (sum(sizes),):
        expected = f"{sum(sizes)}, one per item"
        raise ModelError(f"scores of {name}", found=f"{values.size}", expected=expected)
    broken = int(np.count_nonzero(~np.isfinite(values)))
    if broken:
        raise ModelError(f"scores of {name}", found=f"{broken} of {values.size} NaN or infinite", expected="numbers")
    columns: dict[str, object] = {
        "sample_id": list(sample_ids),
        "user_id": np.repeat(np.array([candidates.user_id for candidates in lists], dtype=object), sizes),
        "item_id": [item for candidates in lists for item in candidates.item_ids],
        "label": labels,
        "score": values,
        "model": [name] * values.size,
        "seed": [seed] * values.size,
    }
    frame = pl.DataFrame(columns, schema=SCORES)
    if scores.label_mass is not None:
        frame = frame.with_columns(pl.Series(LABEL_MASS, np.concatenate(scores.label_mass), dtype=pl.Float64))
    return frame


def _score_split(scorer: Scorer, data: SampleSet, split: str, seed: int, name: str) -> ScoreFile:
    samples = samples_of(data, split)
    ids, labels = [sample.sample_id for sample in samples], [sample.label for sample in samples]
    frame = score_lists(scorer, sample_lists(samples), ids, labels, seed=seed, name=name)
    return ScoreFile(frame, scorer.log_odds, split, data.fingerprint)


def _fit(scorer: Scorer, data: SampleSet, split: str) -> Temperature:
    """The temperature with the smallest LogLoss on the validation split."""
    if not scorer.log_odds:
        return Temperature(reason=NO_LOG_ODDS)
    if split == "valid":
        return Temperature(reason="the validation split itself is scored")
    if data.frame("valid").is_empty():
        return Temperature(reason="there are no validation samples")
    frame = _score_split(scorer, data, "valid", 0, scorer.name).frame
    return Temperature(fit_temperature(frame["label"].to_numpy(), frame["score"].to_numpy()))
