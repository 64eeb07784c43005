"""The contract finds each kind of broken scorer and passes a sound one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from recalign.data.samples import CandidateList, HistoryEntry
from recalign.scoring.base import Scores
from recalign.testing.contracts import ScorerContract

LISTS = [
    CandidateList("u1", (HistoryEntry("a", True),), ("a", "b", "c")),
    CandidateList("u2", (), ("b",)),
    CandidateList("u3", (HistoryEntry("a", True), HistoryEntry("b", False)), ("c", "a")),
]


class Sound:
    """ord(item) + 10 per like; `calls` lets subclasses misbehave."""

    name = "sound"
    log_odds = True
    calls = 0

    def value(self, one: CandidateList, index: int) -> float:
        return ord(one.item_ids[index]) + 10.0 * sum(entry.liked for entry in one.history)

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        self.calls += 1
        values = tuple(np.array([self.value(one, i) for i in range(len(one.item_ids))], float) for one in lists)
        return Scores(values, tuple(np.full(len(one.item_ids), 0.5) for one in lists))


class DependsOnBatch(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(values + 1e-3 * len(lists) for values in super().score(lists).values))


class DependsOnPlaceOfList(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(values + index for index, values in enumerate(super().score(lists).values)))


class DependsOnPlaceOfItem(Sound):
    def value(self, one: CandidateList, index: int) -> float:
        return super().value(one, index) + index


class DependsOnOtherItems(Sound):
    def value(self, one: CandidateList, index: int) -> float:
        return super().value(one, index) + len(set(one.item_ids))


class RemembersCalls(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        scores = super().score(lists)
        return Scores(tuple(values + 0.1 * self.calls for values in scores.values))


class GivesNan(Sound):
    def value(self, one: CandidateList, index: int) -> float:
        return float("nan")


class GivesHalfPrecision(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(values.astype(np.float32) for values in super().score(lists).values))  # type: ignore[misc]


class ForgetsAList(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return super().score(lists[:2])


class FailsOnNothing(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return super().score([one for one in lists if one.item_ids])


class MassAboveOne(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        scores = super().score(lists)
        return Scores(scores.values, tuple(np.full(len(values), 1.5) for values in scores.values))


class MassComesAndGoes(Sound):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        scores = super().score(lists)
        return scores if self.calls == 1 else Scores(scores.values)


class Nameless(Sound):
    name = ""


def failures(make: Callable[[], object], lists: Sequence[CandidateList] = LISTS) -> set[str]:
    failed = set()
    for name, test in inspect.getmembers(ScorerContract(), inspect.ismethod):
        if name.startswith("test_"):
            arguments = {"scorer": make(), "lists": lists}
            try:
                test(**{key: arguments[key] for key in inspect.signature(test).parameters})
            except (AssertionError, IndexError):
                failed.add(name)
    return failed


class TestSound(ScorerContract):
    @pytest.fixture
    def scorer(self) -> Sound:
        return Sound()

    @pytest.fixture
    def lists(self) -> list[CandidateList]:
        return LISTS


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (DependsOnBatch, "test_other_lists_do_not_matter"),
        (DependsOnPlaceOfList, "test_order_of_lists_does_not_matter"),
        (DependsOnPlaceOfItem, "test_order_of_items_does_not_matter"),
        (DependsOnOtherItems, "test_other_items_do_not_matter"),
        (DependsOnPlaceOfItem, "test_equal_items_get_equal_scores"),
        (RemembersCalls, "test_scoring_changes_nothing"),
        (MassComesAndGoes, "test_scoring_changes_nothing"),
        (GivesNan, "test_shapes_and_finite_values"),
        (GivesHalfPrecision, "test_shapes_and_finite_values"),
        (ForgetsAList, "test_shapes_and_finite_values"),
        (FailsOnNothing, "test_nothing_in_nothing_out"),
        (MassAboveOne, "test_label_mass_is_a_probability"),
        (Nameless, "test_it_is_a_scorer"),
    ],
)
def test_a_broken_scorer_is_found(broken: type[Sound], found_by: str) -> None:
    assert found_by in failures(broken)


def test_a_sound_scorer_passes_everything() -> None:
    assert failures(Sound) == set()


def test_lists_that_tell_nothing_are_refused() -> None:
    assert "test_the_lists_are_enough_to_tell" in failures(Sound, LISTS[:2])
