"""What a model learns of titles beside its weights: how its training data liked each (`TitleKnowledge`)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recalign.data.knowledge import TitleKnowledge
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.tuning.sources import user_sequences


def count_titles(parts: Sequence[tuple[SampleSet, pl.DataFrame]]) -> TitleKnowledge | None:
    """Count the training events of data sets, given with the rows of their train split that may be read.

    None where no users are known apart: those of published samples are not, so nobody could be left out.
    """
    counted = [(data, rows) for data, rows in parts if data.tells_users_apart]
    if not counted:
        return None
    users = ((data.catalog, user.user_id, user.entries) for data, rows in counted for user in user_sequences(rows))
    return TitleKnowledge.count(users)


def count_shots(parts: Sequence[tuple[SampleSet, Sequence[Sample]]]) -> TitleKnowledge:
    """Count what K samples tell: each target, and all that is known of its user from before. Each event counts once."""
    users: dict[tuple[int, str], dict[str, HistoryEntry]] = {}
    for place, (data, samples) in enumerate(parts):
        for sample in samples if data.tells_users_apart else ():
            events = users.setdefault((place, sample.user_id), {})
            for entry in (*sample.past, HistoryEntry(sample.item_id, bool(sample.label))):
                events.setdefault(entry.item_id, entry)
    return TitleKnowledge.count(
        (parts[place][0].catalog, user_id, events.values()) for (place, user_id), events in users.items()
    )
