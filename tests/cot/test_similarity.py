"""Similarities by hand, and what they may not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from recalign.cot.similarity import DAMPING, UNKNOWN, ItemSimilarity
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.testing.data import write_sample_set

TITLES = {item: f"Title {item}" for item in "abcdef"}


def sample(user: str, history: str, item: str, label: int = 1) -> Sample:
    return Sample(f"{user}-{item}", user, item, label, tuple(HistoryEntry(each, True) for each in history))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SampleSet]:
    def write(rows: Sequence[Sample], **config: object) -> SampleSet:
        return write_sample_set(tmp_path / str(len(list(tmp_path.iterdir()))), TITLES, {"train": rows}, config=config)

    return write


def alike(similarity: ItemSimilarity, user: str, left: str, right: str) -> list[list[float]]:
    codes = (similarity.codes(left)[None], similarity.codes(right)[None])
    found: list[list[float]] = similarity.met_by_others([user], *codes)[0].tolist()
    return found


ROWS = (sample("ann", "ab", "c"), sample("bob", "ab", "d", 0), sample("cid", "ac", "b"), sample("dan", "e", "f"))


def test_by_hand(make: Callable[..., SampleSet]) -> None:
    similarity = ItemSimilarity(make(ROWS), "train")
    # a is met by ann, bob, cid; b by the same; c by ann and cid; d by bob.
    expected = [3 / (3 + DAMPING), 2 / np.sqrt((3 + DAMPING) * (2 + DAMPING)), 0.0]
    assert alike(similarity, "nobody", "a", "bcf")[0] == pytest.approx(expected, abs=1e-6)


def test_the_user_at_hand_is_left_out(make: Callable[..., SampleSet]) -> None:
    similarity = ItemSimilarity(make(ROWS), "train")
    without_ann = ItemSimilarity(make(ROWS[1:]), "train")
    for left, right in (("a", "bcd"), ("c", "a"), ("ab", "cd")):
        assert alike(similarity, "ann", left, right) == pytest.approx(
            np.array(alike(without_ann, "nobody", left, right)), abs=1e-6
        )


def test_no_truth_of_the_own_user_can_change_anything(make: Callable[..., SampleSet]) -> None:
    """With another truth, or more of the same user's interactions, a case's similarities are the same."""
    before = ItemSimilarity(make(ROWS), "train")
    other = ItemSimilarity(make((sample("ann", "ab", "f"), sample("ann", "abf", "e"), *ROWS[1:])), "train")
    assert alike(before, "ann", "ab", "cdef") == alike(other, "ann", "ab", "cdef")


def test_sampled_negatives_were_met_by_nobody(make: Callable[..., SampleSet]) -> None:
    rows = (sample("ann", "a", "b", 0), sample("bob", "a", "b"))
    explicit = ItemSimilarity(make(rows), "train")
    implicit = ItemSimilarity(make(rows, feedback={"kind": "implicit"}), "train")
    assert alike(explicit, "x", "a", "b")[0][0] == pytest.approx(2 / (2 + DAMPING))
    assert alike(implicit, "x", "a", "b")[0][0] == pytest.approx(1 / np.sqrt((2 + DAMPING) * (1 + DAMPING)))


def test_places_that_are_filled_up_are_like_nothing(make: Callable[..., SampleSet]) -> None:
    similarity = ItemSimilarity(make(ROWS), "train")
    codes = np.array([[similarity.items["a"], UNKNOWN]])
    found = similarity.met_by_others(["x"], codes, codes) + similarity.content(codes, codes)
    assert (found[0, 1, :] == 0).all()
    assert (found[0, :, 1] == 0).all()
    assert similarity.codes(["a", "zzz"]).tolist() == [similarity.items["a"], UNKNOWN]


def test_of_too_many_interactions_a_draw_of_users_is_counted(movies: SampleSet) -> None:
    whole, some = ItemSimilarity(movies, "train"), ItemSimilarity(movies, "train", most=300)
    again, others = ItemSimilarity(movies, "train", most=300), ItemSimilarity(movies, "train", most=300, seed=1)
    assert 200 < some._met.nnz <= 300 < whole._met.nnz
    assert (some._met != again._met).nnz == 0
    assert (some._met != others._met).nnz > 0


def test_content_is_genres_and_authors(movies: SampleSet, books: SampleSet) -> None:
    for samples, own in ((movies, 1.0), (books, 2.0)):
        similarity = ItemSimilarity(samples, "train")
        frame = samples.catalog.frame
        genres = dict(zip(frame["item_id"], frame["genres"].list.first(), strict=True))
        first, *others = samples.catalog.ids
        alike_ = similarity.content(similarity.codes([first])[None], similarity.codes([first, *others])[None])[0, 0]
        assert alike_[0] == pytest.approx(own)
        same = [genres[item] == genres[first] for item in others]
        assert [value > 0 for value in alike_[1:]] == same
