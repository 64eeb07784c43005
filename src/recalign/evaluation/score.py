"""A scorer in, a score file out: of a split or of candidate lists. Reads of a test split are logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from recalign.artifacts import append_info
from recalign.data.samples import CandidateList, Sample, SampleSet
from recalign.data.schema import LABEL_MASS, SCORES, SPLITS
from recalign.errors import ConfigError, DataError, ModelError
from recalign.evaluation.score_file import ScoreFile
from recalign.evaluation.temperature import NOT_ALLOWED, Temperature, may_fit
from recalign.metrics.calibration import fit_temperature
from recalign.scoring.base import Scorer, one_item_lists


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
    """Score every sample of a split, each target alone in its list, and fit a temperature where that is allowed.

    Args:
        scorer: Any scorer of the data's items.
        data: Prepared data.
        split: "train", "valid" or "test".
        seed: Training seed of the model, recorded in the file.
        name: Name of the model in the file; the scorer's own by default.
        model: The directory that the scorer comes from. Its manifest logs each read of a test split, and says whether
            validation labels have been seen.
        calibrate: Whether to fit a temperature; by default as `temperature.may_fit` says.

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
    """Append to ``info["test_reads"]`` of a model's manifest that a test split was read.

    Other splits are not logged, and nothing is where there is no model directory.

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
    scorer: Scorer, lists: Sequence[CandidateList], sample_ids: Sequence[str], *, seed: int, name: str
) -> pl.DataFrame:
    """Score candidate lists: a row per item with the columns of `schema.SCORES`, its `label` still null.

    Args:
        scorer: Any scorer of the items.
        lists: The lists.
        sample_ids: The sample of each list.
        seed: Training seed of the model.
        name: Name of the model.

    Returns:
        The items in the order of the lists; `label_mass` follows where the scorer is a language model.

    Raises:
        ModelError: The scorer gave a score that is not finite, or not one per item.
    """
    scores = scorer.score(lists)
    values = scores.flat()
    sizes = [len(candidates.item_ids) for candidates in lists]
    if values.shape != (sum(sizes),):
        expected = f"{sum(sizes)}, one per {'sample' if sum(sizes) == len(lists) else 'candidate'}"
        raise ModelError(f"scores of {name}", found=f"{values.size}", expected=expected)
    broken = int(np.count_nonzero(~np.isfinite(values)))
    if broken:
        raise ModelError(f"scores of {name}", found=f"{broken} of {values.size} NaN or infinite", expected="numbers")
    columns: dict[str, object] = {
        "sample_id": np.repeat(np.array(sample_ids, dtype=object), sizes),
        "user_id": np.repeat(np.array([candidates.user_id for candidates in lists], dtype=object), sizes),
        "item_id": [item for candidates in lists for item in candidates.item_ids],
        "label": [None] * values.size,
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
    frame = score_lists(scorer, one_item_lists(samples), [it.sample_id for it in samples], seed=seed, name=name)
    frame = frame.with_columns(pl.Series("label", [it.label for it in samples], dtype=SCORES["label"]))
    return ScoreFile(frame, scorer.log_odds, split, data.fingerprint)


def _fit(scorer: Scorer, data: SampleSet, split: str) -> Temperature:
    """The temperature with the smallest LogLoss on the validation split."""
    if not scorer.log_odds:
        return Temperature(reason="the scores are an order, not log-odds")
    if split == "valid":
        return Temperature(reason="the validation split itself is scored")
    if data.frame("valid").is_empty():
        return Temperature(reason="there are no validation samples")
    frame = _score_split(scorer, data, "valid", 0, scorer.name).frame
    return Temperature(fit_temperature(frame["label"].to_numpy(), frame["score"].to_numpy()))
