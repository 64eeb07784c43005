"""What about a prepared data set can mislead: a list of findings, computed from its tables. Findings stop nothing.

The checks that look into histories are here. Histories stay ranges (`SampleTable`) and are gone through a million
samples at a time. The other checks are in `recalign.data.audit_checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recalign.artifacts import Json
from recalign.data import audit_checks as checks
from recalign.data.audit_checks import Finding, Findings, finding
from recalign.data.catalog import ItemCatalog
from recalign.data.codes import Codes, codes, pair_keys
from recalign.data.domain import Domain
from recalign.data.sample_ids import Hashes, mix
from recalign.data.sample_table import GROUP_ROWS, SampleTable, used_events
from recalign.data.schema import SPLITS

_LONG: Final = 5  # entries from which on two equal histories are no coincidence


class AuditReport(BaseModel):
    """All findings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...] = Field(description="Warnings first, then by code.")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that change what a metric means."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def summary(self) -> dict[str, int]:
        """Code and count of every finding, for a manifest."""
        return {finding.code: finding.count for finding in self.findings}


def audit(table: SampleTable, catalog: ItemCatalog, config: Json, further: Iterable[Finding] = ()) -> AuditReport:
    """Audit the tables of a prepared directory.

    Args:
        table: All samples.
        catalog: Their items.
        config: The manifest's (``protocol``, ``feedback``, ``domain``).
        further: Findings of checks that need more than the tables.
    """
    protocol, domain = str(config["protocol"]["name"]), Domain.model_validate(config["domain"])
    samples = table.samples
    findings = [
        *checks.users_in_several_splits(samples, protocol),
        *checks.targets_out_of_time(samples, protocol),
        *targets_in_histories(table),
        *shared_histories(table),
        *checks.repeated_targets(samples),
        *checks.prevalence(samples),
        *checks.few_users(samples),
        *checks.zero_ratings(samples, config["feedback"]),
        *checks.duplicate_texts(catalog.frame),
        *checks.missing_titles(catalog.frame),
        *checks.label_words(catalog.frame, domain),
        *checks.suspicious_texts(catalog.frame, domain),
        *checks.deciding_words(samples, catalog.frame),
        *further,
    ]
    in_order = sorted(findings, key=lambda told: (told.severity != "warning", told.code))
    return AuditReport(findings=tuple(in_order))


def targets_in_histories(table: SampleTable) -> Findings:
    """Targets that their own history names, or that a history of an earlier split gives away."""
    items, targets = codes(table.events["item_id"]), codes(table.samples["item_id"])
    own = 0
    for first, end, lengths in _ranges(table.samples):
        target = targets[first : first + len(end)]
        named = np.zeros(len(end), dtype=bool)
        for reaches, entry in _backwards(items, end, lengths):
            named |= reaches & (entry == target)
        own += int(named.sum())
    if own:
        note = f"{own} targets occur in their own history: the user interacted with the item before"
        yield finding("target-in-history", "warning", own, note)
    keys = pair_keys(table.events["user_id"], table.events["item_id"])
    for place, name in enumerate(SPLITS[1:], start=1):
        earlier = table.samples.filter(pl.col("split").is_in(SPLITS[:place]))
        seen = pl.DataFrame({"key": keys[used_events(earlier, len(keys))]})
        part = table.split(name)
        asked = pl.DataFrame({"key": pair_keys(part["user_id"], part["item_id"])})
        if count := len(asked.join(seen.join(asked, on="key", how="semi"), on="key", how="semi")):
            note = f"{count} {name} targets occur, with their answer, in histories of earlier splits"
            yield finding(f"{name}-target-seen", "warning", count, note)


def shared_histories(table: SampleTable) -> Findings:
    """Histories of 5 or more items that occur under several users and in several splits; compared by 64-bit hashes."""
    users, splits = codes(table.samples["user_id"]), codes(table.samples["split"])
    long = table.samples["history_length"].to_numpy() >= _LONG
    count = _shared(_history_hashes(table)[long], users[long], splits[long])
    if count:
        note = f"{count} histories of 5 or more items occur under several users and in several splits: one person?"
        yield finding("duplicate-histories", "warning", count, note)


def _ranges(samples: pl.DataFrame) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int32]]]:
    """Ends and lengths of histories, with the place of the first: a million samples at a time."""
    for first in range(0, len(samples), GROUP_ROWS):
        part = samples[first : first + GROUP_ROWS]
        yield first, part["history_end"].to_numpy(), part["history_length"].to_numpy()


def _history_hashes(table: SampleTable) -> Hashes:
    """A hash per sample of the items of its history, in order."""
    items = codes(table.events["item_id"])
    hashes = np.empty(len(table.samples), dtype=np.uint64)
    for first, end, lengths in _ranges(table.samples):
        value = lengths.astype(np.uint64)
        for reaches, entry in _backwards(items, end, lengths):
            value = np.where(reaches, mix(value ^ entry), value)
        hashes[first : first + len(end)] = value
    return hashes


def _backwards(
    items: Codes, end: NDArray[np.int64], lengths: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.bool_], Codes]]:
    """Histories entry by entry from the newest on: which histories reach so far back, and the item there."""
    for lag in range(1, int(lengths.max(initial=0)) + 1):
        reaches = lengths >= lag
        yield reaches, items[np.where(reaches, end - lag, 0)]


def _shared(hashes: Hashes, users: Codes, splits: Codes) -> int:
    """How many hashes occur under several users and in several splits."""
    if not len(hashes):
        return 0
    order = np.argsort(hashes)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(hashes[order])) + 1])
    several = np.ones(len(starts), dtype=bool)
    for values in (users[order], splits[order]):
        several &= np.minimum.reduceat(values, starts) < np.maximum.reduceat(values, starts)
    return int(several.sum())
