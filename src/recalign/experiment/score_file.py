"""Score files: what a model said about each sample or candidate, and all that metrics and tests may read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recalign.artifacts import write_file_atomic
from recalign.data.samples import CandidateList, SampleSet
from recalign.data.schema import FORMAT_VERSION, SCORES, SPLITS
from recalign.errors import ArtifactError, ConfigError, DataError, ModelError
from recalign.scoring.base import Scorer, one_item_lists

LABEL_MASS: Final = "label_mass"
_METADATA_PREFIX: Final = "recalign."


@dataclass(frozen=True)
class ScoreFile:
    """Scores of one model on one split.

    Attributes:
        frame: Columns of `schema.SCORES`, and `label_mass` in [0, 1] where the scorer is a language model.
        log_odds: Whether `score` holds log-odds of "liked", or only an order.
        split: The split that was scored.
        data: Fingerprint of the prepared data.
        candidates: Fingerprint of the ranking candidates where there is a row per candidate; "" where per sample.
    """

    frame: pl.DataFrame
    log_odds: bool
    split: str
    data: str
    candidates: str = ""

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically; the other attributes and the format version go into its metadata.

        Raises:
            ArtifactError: The file cannot be written.
        """
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "log_odds": "true" if self.log_odds else "false",
            "split": self.split,
            "data": self.data,
            "candidates": self.candidates,
        }
        buffer = io.BytesIO()
        self.frame.write_parquet(buffer, metadata={_METADATA_PREFIX + key: value for key, value in metadata.items()})
        write_file_atomic(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> ScoreFile:
        """Read what `write` wrote.

        Raises:
            ArtifactError: The file is missing, no score file, damaged, or of a newer format.
        """
        try:
            stored = pl.read_parquet_metadata(path)
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(f"score file {path}", found=str(error), expected="a readable Parquet file") from error
        found = {key: stored.get(_METADATA_PREFIX + key) for key in ("format_version", "log_odds", "split", "data")}
        missing = [name for name in SCORES if name not in frame.columns]
        if missing or None in found.values():
            absent = ", ".join([*missing, *(key for key, value in found.items() if value is None)])
            raise ArtifactError(f"score file {path}", found=f"no {absent}", expected="a file written by `evaluate`")
        if found["format_version"] != str(FORMAT_VERSION):
            raise ArtifactError(
                f"score file {path}",
                found=f"format version {found['format_version']}",
                expected=str(FORMAT_VERSION),
                hint="It was written by another version of recalign; run `recalign evaluate` again.",
            )
        candidates = stored.get(_METADATA_PREFIX + "candidates", "")
        return cls(frame, found["log_odds"] == "true", str(found["split"]), str(found["data"]), candidates)


def score_split(scorer: Scorer, sample_set: SampleSet, split: str, *, seed: int = 0, name: str = "") -> ScoreFile:
    """Score every sample of a split, each target alone in its list.

    Args:
        scorer: Any scorer of the data's items.
        sample_set: Prepared data.
        split: "train", "valid" or "test".
        seed: Training seed of the model, recorded in the file.
        name: Name of the model in the file; the scorer's own by default.

    Raises:
        ConfigError: There is no such split.
        DataError: The split has no samples.
        ModelError: The scorer gave a score that is not finite, or not one per sample.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}", expected=", ".join(SPLITS))
    samples = sample_set.samples(split)
    if not samples:
        counts = ", ".join(f"{other} {sample_set.frame(other).height}" for other in SPLITS)
        raise DataError(f"split {split!r} of the data", found=f"no samples ({counts})", hint="Choose another --split.")
    label = name or scorer.name
    frame = score_lists(scorer, one_item_lists(samples), [each.sample_id for each in samples], seed=seed, name=label)
    frame = frame.with_columns(pl.Series("label", [each.label for each in samples], dtype=SCORES["label"]))
    return ScoreFile(frame, scorer.log_odds, split, sample_set.fingerprint)


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
    sizes = [len(each.item_ids) for each in lists]
    if values.shape != (sum(sizes),):
        expected = f"{sum(sizes)}, one per {'sample' if sum(sizes) == len(lists) else 'candidate'}"
        raise ModelError(f"scores of {name}", found=f"{values.size}", expected=expected)
    broken = int(np.count_nonzero(~np.isfinite(values)))
    if broken:
        raise ModelError(f"scores of {name}", found=f"{broken} of {values.size} NaN or infinite", expected="numbers")
    columns: dict[str, object] = {
        "sample_id": np.repeat(np.array(sample_ids, dtype=object), sizes),
        "user_id": np.repeat(np.array([each.user_id for each in lists], dtype=object), sizes),
        "item_id": [item for each in lists for item in each.item_ids],
        "label": [None] * values.size,
        "score": values,
        "model": [name] * values.size,
        "seed": [seed] * values.size,
    }
    frame = pl.DataFrame(columns, schema=SCORES)
    if scores.label_mass is not None:
        frame = frame.with_columns(pl.Series(LABEL_MASS, np.concatenate(scores.label_mass), dtype=pl.Float64))
    return frame
