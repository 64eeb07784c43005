"""Audit checks that look into histories: answers that these give away, and histories that several users share.

Histories stay ranges (`SampleTable`) and are gone through a million samples at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.audit_checks import Findings, finding
from recalign.data.codes import Codes, codes, pair_keys
from recalign.data.sample_ids import Hashes, mix
from recalign.data.sample_table import SampleTable
from recalign.data.schema import SPLITS

_ROWS: Final = 1_000_000
_LONG: Final = 5  # entries from which on two equal histories are no coincidence


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
        seen = pl.DataFrame({"key": keys[_used(table, SPLITS[:place])]})
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
    for first in range(0, len(samples), _ROWS):
        part = samples[first : first + _ROWS]
        yield first, part["history_end"].to_numpy(), part["history_length"].to_numpy()


def _used(table: SampleTable, splits: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which events occur in a history of these splits."""
    opened = np.zeros(len(table.events) + 1, dtype=np.int32)
    rows = table.samples.select("split", "history_end", "history_length").filter(pl.col("split").is_in(splits))
    for _, end, lengths in _ranges(rows):
        lowest = int((end - lengths).min())
        highest = int(end.max()) + 1
        part = opened[lowest:highest]
        part += np.bincount(end - lengths - lowest, minlength=len(part)).astype(np.int32)
        part -= np.bincount(end - lowest, minlength=len(part)).astype(np.int32)
    used: NDArray[np.bool_] = np.cumsum(opened, dtype=np.int32)[:-1] > 0
    return used


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
