"""Samples in memory (`Sample`, `CandidateList`) and the prepared data directory (`SampleSet`).

A prepared directory holds ``samples.parquet`` (the artefact), ``items.parquet``, renderings ``train/valid/test.jsonl``,
``rejects.jsonl``, ``audit.json`` and ``manifest.json``. See `recalign.experiment.prepare` for how it is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from recalign.artifacts import Manifest, read_manifest
from recalign.data.catalog import ItemCatalog
from recalign.data.schema import SAMPLES, SPLITS
from recalign.errors import ConfigError, DataError

KIND: Final = "samples"
SAMPLES_FILE: Final = "samples.parquet"
ITEMS_FILE: Final = "items.parquet"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One interaction before the target. `rating` is None where the source has none."""

    item_id: str
    liked: bool
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One target with its history (oldest first) and its label (1 liked, 0 not)."""

    sample_id: str
    user_id: str
    item_id: str
    label: int
    history: tuple[HistoryEntry, ...]
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class CandidateList:
    """What a scorer is asked: one history (oldest first) and the items to score for it. AUC is the one-item list."""

    user_id: str
    history: tuple[HistoryEntry, ...]
    item_ids: tuple[str, ...]


class SampleSet:
    """A prepared data directory: samples, catalogue, and how they were made. Read-only."""

    def __init__(self, directory: Path, manifest: Manifest, samples: pl.DataFrame, catalog: ItemCatalog) -> None:
        """Combine the parts; `load` is how to get one from disk.

        Raises:
            DataError: the samples do not have the columns of `schema.SAMPLES` or break its rules (`check_samples`).
        """
        check_samples(samples)
        self.path, self.manifest, self.catalog = directory, manifest, catalog
        self._samples = samples

    @classmethod
    def load(cls, directory: Path, *, verify: bool = True) -> SampleSet:
        """Load what ``recalign prepare --output DIR`` wrote.

        Args:
            directory: The prepared directory.
            verify: Check the hash of every file against the manifest first.

        Raises:
            ArtifactError: no prepared directory there, or a missing, truncated or altered file.
            DataError: a file is intact but is no table of samples or items.
        """
        directory = Path(directory)
        manifest = read_manifest(directory, kind=KIND, verify=verify)
        path = directory / SAMPLES_FILE
        try:
            samples = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"cannot read {path}", found=str(error), expected="a Parquet file of samples") from error
        return cls(directory, manifest, samples, ItemCatalog.read(directory / ITEMS_FILE))

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the artefact, for the manifests of what is made from it."""
        return self.manifest.fingerprint

    @property
    def domain(self) -> dict[str, Any]:
        """Fields of `recalign.prompting.template.Domain`: noun, verb, label words, language."""
        return dict(self.manifest.config["domain"])

    @property
    def template(self) -> str:
        """Name (or path) of the prompt template the renderings were made with."""
        return str(self.manifest.config["template"])

    def frame(self, split: str | None = None) -> pl.DataFrame:
        """The samples (columns of `schema.SAMPLES`) of one split, or of all.

        Raises:
            ConfigError: there is no such split.
        """
        if split is None:
            return self._samples
        if split not in SPLITS:
            raise ConfigError(f"split {split!r}", expected=" or ".join(SPLITS))
        return self._samples.filter(pl.col("split") == split)

    def samples(self, split: str | None = None) -> list[Sample]:
        """The samples of one split, or of all, in the order of the table. Raises ConfigError as `frame`."""
        return to_samples(self.frame(split))

    def __len__(self) -> int:
        return len(self._samples)


def to_samples(frame: pl.DataFrame) -> list[Sample]:
    """Turn rows with the columns of `schema.SAMPLES` into objects."""
    entries = frame["history"].explode(empty_as_null=False).struct
    flat = [HistoryEntry(*fields) for fields in zip(*(entries.field(name) for name in entries.fields), strict=True)]
    ends = frame["history"].list.len().cum_sum().to_list()
    histories = [tuple(flat[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []
    columns = (frame[name] for name in ("sample_id", "user_id", "item_id", "label"))
    return [Sample(*row) for row in zip(*columns, histories, frame["timestamp"], strict=True)]


def check_samples(frame: pl.DataFrame) -> None:
    """Check columns, types, splits, labels and the uniqueness of `sample_id`.

    Raises:
        DataError: the first rule that is broken.
    """
    if dict(frame.schema) != SAMPLES:
        odd = [name for name in {**SAMPLES, **frame.schema} if frame.schema.get(name) != SAMPLES.get(name)]
        raise DataError("samples", found=f"unexpected columns or types: {', '.join(odd) or 'another order'}")
    if splits := sorted(set(frame["split"].unique()) - set(SPLITS), key=str):
        raise DataError("samples, column 'split'", found=repr(splits[0]), expected=" or ".join(SPLITS))
    if not frame["label"].is_in([0, 1]).fill_null(False).all():
        raise DataError("samples, column 'label'", found="other values", expected="0 or 1")
    if frame["sample_id"].null_count() or frame["sample_id"].n_unique() != len(frame):
        raise DataError("samples, column 'sample_id'", found="empty or repeated values", expected="unique ids")


def build_samples(rows: pl.DataFrame, *, window: int, min_history: int, negatives_in_history: bool) -> pl.DataFrame:
    """Give every row the history before it, and keep those whose history is long enough.

    Args:
        rows: Labelled interactions (`feedback.label`) with each user's rows together and in the order wanted; the
            negatives of an event directly after its positive.
        window: Longest history; longer ones keep their newest entries.
        min_history: How many entries a sample must have before it (counted before the window cuts them).
        negatives_in_history: Whether sampled negatives of earlier events appear in histories.

    Returns:
        The rows kept, in their order, with ``history`` (`schema.HISTORY_ENTRY`, oldest first; only events of the same
        user that come before the row's own event), ``label`` and ``position`` (of the event among the user's, from 0).
    """
    new_user = (rows["user_id"] != rows["user_id"].shift(1)).fill_null(True).to_numpy()
    negative = rows["negative"].to_numpy()
    shown = np.ones(len(rows), dtype=bool) if negatives_in_history else ~negative
    before = np.cumsum(shown) - shown  # rows that may be shown, before each row
    place = np.arange(len(rows))
    event = np.maximum.accumulate(np.where(negative, 0, place))  # the positive that opens the row's event
    user = np.maximum.accumulate(np.where(new_user, place, 0))
    end = before[event]
    start = np.maximum(before[user], end - window)
    events_before = np.cumsum(~negative) - ~negative
    kept = np.flatnonzero(end - before[user] >= min_history)
    history = _gather(rows.filter(pl.Series(shown)), start[kept], end[kept])
    return rows[kept].with_columns(
        history,
        pl.col("liked").cast(SAMPLES["label"]).alias("label"),
        pl.Series("position", events_before[event][kept] - events_before[user][kept], dtype=pl.Int64),
    )


def _gather(shown: pl.DataFrame, start: np.ndarray, end: np.ndarray) -> pl.Series:
    """One list per (start, end): the rows of `shown` in that range, as history entries."""
    lengths = end - start
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    index = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
    entries = shown.select(pl.struct("item_id", "liked", "rating").alias("history"))["history"][index]
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), entries.to_arrow())
    return pl.Series("history", lists, dtype=SAMPLES["history"])


def with_sample_ids(frame: pl.DataFrame, protocol: str) -> pl.DataFrame:
    """Add ``sample_id``: 16 hex digits of SHA-256 over protocol, user, item and position.

    The same interaction gets the same id whatever the order of the input, the seed of the split or the window.

    Raises:
        DataError: two rows have the same id.
    """
    columns = (frame[name].cast(pl.String) for name in ("user_id", "item_id", "position"))
    keys = ("\x1f".join((protocol, *key)) for key in zip(*columns, strict=True))
    ids = [hashlib.sha256(key.encode()).hexdigest()[:16] for key in keys]
    result = frame.with_columns(pl.Series("sample_id", ids, dtype=pl.String))
    if result["sample_id"].n_unique() != len(result):
        raise DataError("two samples have the same user, item and position", expected="unique samples")
    return result


def split_counts(frame: pl.DataFrame) -> Mapping[str, dict[str, int]]:
    """Per split the number of samples, users and positive labels."""
    return {
        split: {
            "samples": len(part := frame.filter(pl.col("split") == split)),
            "users": part["user_id"].n_unique(),
            "positive": int(part["label"].sum()),
        }
        for split in SPLITS
    }
