"""Candidate lists from samples."""

from __future__ import annotations

from recalign.data.samples import HistoryEntry, Sample
from recalign.scoring.base import sample_lists


def sample(item: str, *history: str, user: str = "u", earlier: tuple[HistoryEntry, ...] = ()) -> Sample:
    entries = tuple(HistoryEntry(entry, True) for entry in history)
    return Sample(f"{user}{item}", user, item, 1, entries, earlier=earlier)


def test_samples_in_a_row_with_one_history_share_a_list() -> None:
    before = (HistoryEntry("z", False),)
    samples = [
        *(sample("1", "a", "b"), sample("2", "a", "b"), sample("3", "a"), sample("4", "a", "b")),
        *(sample("5", "a", "b", user="v"), sample("6", "a", "b", user="v", earlier=before)),
    ]
    lists = sample_lists(samples)
    assert [each.item_ids for each in lists] == [("1", "2"), ("3",), ("4",), ("5",), ("6",)]
    assert [each.user_id for each in lists] == ["u", "u", "u", "v", "v"]
    assert lists[-1].past == (*before, *samples[0].history)
    assert sample_lists([]) == []
