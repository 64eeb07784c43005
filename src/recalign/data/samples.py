"""Samples in memory (`Sample`, `CandidateList`) and the prepared data directory (`SampleSet`).

A prepared directory holds ``samples.parquet`` (the artefact), ``items.parquet``, renderings ``train/valid/test.jsonl``,
``rejects.jsonl``, ``audit.json`` and ``manifest.json``. See `recalign.experiment.prepare` for how it is written.
"""

from __future__ import annotations

from dataclasses import dataclass


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
