"""Samples in memory (`Sample`, `CandidateList`), the prepared data directory (`SampleSet`), and samples drawn from it.

A prepared directory holds ``samples.parquet`` (the artefact) and ``events.parquet`` (what its histories consist of),
``items.parquet``, renderings ``train/valid/test.jsonl``, ``rejects.jsonl``, ``audit.json`` and ``manifest.json``. See
`recalign.experiment.prepare` for how it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from recalign.artifacts import Manifest, read_manifest
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.sample_table import SampleTable, check_samples
from recalign.data.schema import SPLITS
from recalign.data.schema import HistoryEntry as HistoryEntry
from recalign.data.stored_samples import StoredSamples
from recalign.errors import ConfigError, DataError
from recalign.seeding import generator

KIND: Final = "samples"
ITEMS_FILE: Final = "items.parquet"


@dataclass(frozen=True, slots=True)
class Sample:
    """One target with its history (oldest first) and its label (1 liked, 0 not).

    `earlier` is what is known of the user from before the history, oldest first. Few scorers look at it.
    """

    sample_id: str
    user_id: str
    item_id: str
    label: int
    history: tuple[HistoryEntry, ...]
    timestamp: int | None = None
    earlier: Sequence[HistoryEntry] = ()

    @property
    def past(self) -> tuple[HistoryEntry, ...]:
        """All that is known of the user from before the target, oldest first; the history is its newest part."""
        return (*self.earlier, *self.history)


@dataclass(frozen=True, slots=True)
class CandidateList:
    """What a scorer is asked: one history (oldest first) and the items to score for it.

    `earlier` and `past` are those of `Sample`.
    """

    user_id: str
    history: tuple[HistoryEntry, ...]
    item_ids: tuple[str, ...]
    earlier: Sequence[HistoryEntry] = ()

    @property
    def past(self) -> tuple[HistoryEntry, ...]:
        """As that of `Sample`."""
        return (*self.earlier, *self.history)


class SampleSet:
    """A prepared data directory: samples, catalogue, and how they were made. Read-only.

    What `load` returns reads a split when it is first asked for, and keeps it.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        samples: pl.DataFrame | StoredSamples,
        catalog: ItemCatalog,
        earlier: Mapping[str, Sequence[HistoryEntry]] | None = None,
    ) -> None:
        """Combine the parts; `load` is how to get one from disk.

        `earlier` is what `Sample.earlier` is, by sample id. Stored samples know it themselves; else it is empty where
        it is not given. Raises DataError as `check_samples`.
        """
        self.path, self.manifest, self.catalog = directory, manifest, catalog
        self._earlier = earlier or {}
        self._stored = samples if isinstance(samples, StoredSamples) else None
        self._frames: dict[str | None, pl.DataFrame] = {}
        if isinstance(samples, pl.DataFrame):
            check_samples(samples)
            self._frames = {None: samples}

    @classmethod
    def load(cls, directory: Path, *, verify: bool = True) -> SampleSet:
        """Load what ``recalign prepare --output DIR`` wrote.

        Args:
            directory: The prepared directory.
            verify: Check the hash of every file against the manifest first.

        Raises:
            ArtifactError: no prepared directory there, a missing, truncated or altered file, or one of another version.
            DataError: a file is intact but is no table of samples or items.
        """
        directory = Path(directory)
        manifest = read_manifest(directory, kind=KIND, verify=verify)
        return cls(directory, manifest, StoredSamples(directory), ItemCatalog.read(directory / ITEMS_FILE))

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the artefact, for the manifests of what is made from it."""
        return self.manifest.fingerprint

    @property
    def protocol(self) -> str:
        """Name of the protocol that made the samples; "" where the manifest names none."""
        return str(dict(self.manifest.config.get("protocol") or {}).get("name") or "")

    @property
    def tells_users_apart(self) -> bool:
        """Whether each user has a name. Published samples are cut from users whom they do not name."""
        return self.protocol != "published"

    @property
    def domain(self) -> Domain:
        """What items and answers are called."""
        return Domain.model_validate(self.manifest.config["domain"])

    @property
    def implicit(self) -> bool:
        """Whether dislikes are sampled negatives, so that nobody met those items."""
        return dict(self.manifest.config.get("feedback") or {}).get("kind") == "implicit"

    @property
    def template(self) -> str:
        """Name (or path) of the prompt template the renderings were made with."""
        return str(self.manifest.config["template"])

    def frame(self, split: str | None = None) -> pl.DataFrame:
        """The samples (columns of `schema.SAMPLES`) of one split, or of all.

        Raises:
            ConfigError: there is no such split.
            DataError: the samples break a rule (`check_samples`).
        """
        if _known(split) not in self._frames:
            if None in self._frames:
                self._frames[split] = self._frames[None].filter(pl.col("split") == split)
            elif self._stored is not None:
                part = self._stored.frame(split)
                check_samples(part)
                self._frames[split] = part
        return self._frames[split]

    def samples(self, split: str | None = None) -> list[Sample]:
        """The samples of one split, or of all, in the order of the table. Raises ConfigError as `frame`."""
        return to_samples(self.frame(split), self.earlier(split))

    def earlier(self, split: str | None = None) -> Mapping[str, Sequence[HistoryEntry]]:
        """`Sample.earlier` by sample id; a sample that is not there has none. Entries are made when they are read."""
        return self._earlier if self._stored is None else self._stored.earlier(_known(split))

    def table(self) -> SampleTable:
        """All samples with their histories as ranges, for work on very many."""
        return SampleTable.from_frame(self.frame()) if self._stored is None else self._stored.table()

    def count(self, split: str | None = None) -> int:
        """How many samples a split has, or all; reads no history. Raises ConfigError as `frame`."""
        if self._stored is None:
            return len(self.frame(split))
        counts = self._stored.counts()
        return sum(counts.values()) if split is None else counts[str(_known(split))]

    def __len__(self) -> int:
        return self.count()

    def limited(self, split: str, limit: int | None, seed: int) -> SampleSet:
        """The same data with at most `limit` samples in a split, drawn by seed, in the order of the data.

        Whoever asks with the same seed gets the same samples. A larger limit contains a smaller one.
        """
        if limit is None or limit >= self.count(split):
            return self
        part = self.frame(split)
        chosen = generator(seed, "in-context", "limit").permutation(len(part))[:limit]
        parts = [part[sorted(chosen)] if name == split else self.frame(name) for name in SPLITS]
        return SampleSet(self.path, self.manifest, pl.concat(parts), self.catalog, self.earlier())


def _known(split: str | None) -> str | None:
    if split is not None and split not in SPLITS:
        raise ConfigError(f"split {split!r}", expected=" or ".join(SPLITS))
    return split


def to_samples(frame: pl.DataFrame, earlier: Mapping[str, Sequence[HistoryEntry]] | None = None) -> list[Sample]:
    """Turn rows with the columns of `schema.SAMPLES` into objects; `earlier` is what came before, by sample id."""
    entries = frame["history"].explode(empty_as_null=False).struct
    flat = [HistoryEntry(*fields) for fields in zip(*(entries.field(name) for name in entries.fields), strict=True)]
    ends = frame["history"].list.len().cum_sum().to_list()
    histories = [tuple(flat[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []
    columns = (frame[name] for name in ("sample_id", "user_id", "item_id", "label"))
    before = ((earlier or {}).get(sample_id, ()) for sample_id in frame["sample_id"])
    return [Sample(*row) for row in zip(*columns, histories, frame["timestamp"], before, strict=True)]


def split_counts(samples: pl.DataFrame) -> Mapping[str, dict[str, int]]:
    """Per split the number of samples, users and positive labels. Needs `split`, `user_id` and `label`."""
    return {
        split: {
            "samples": len(part := samples.select("split", "user_id", "label").filter(pl.col("split") == split)),
            "users": part["user_id"].n_unique(),
            "positive": int(part["label"].cast(pl.Int64).sum()),
        }
        for split in SPLITS
    }


def liked_rows(frame: pl.DataFrame, split: str) -> pl.DataFrame:
    """The rows of a split whose target is liked. Raises DataError where there are none."""
    liked = frame.filter(pl.col("label") == 1)
    if liked.is_empty():
        raise DataError(
            f"split {split!r} of the data",
            found=f"no liked target among {frame.height}",
            expected="at least one",
            hint="Choose another split.",
        )
    return liked


def choose_shots(samples: Sequence[Sample], shots: int | None, seed: int) -> list[Sample]:
    """The K samples of a K-shot run, by seed; in the order of the data. A larger K contains a smaller one.

    Every model that is given the same seed gets the same samples.

    Raises:
        DataError: There are fewer than K samples.
    """
    if shots is None:
        return list(samples)
    if shots > len(samples):
        raise DataError("K-shot training", found=f"{len(samples)} training samples", expected=f"at least K = {shots}")
    chosen = generator(seed, "k-shot").permutation(len(samples))[:shots]
    return [samples[index] for index in sorted(chosen)]
