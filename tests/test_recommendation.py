"""Which neighbours of a list are not told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.recommendation import NEAR, Recommendation, near_ties


def ranked(values: list[float], *, log_odds: bool = True) -> list[Recommendation]:
    """A list of these probabilities, or of these scores."""
    return [
        Recommendation(rank, str(rank), f"Film {rank}", value, value if log_odds else None)
        for rank, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0.9, 0.895, 0.891, 0.889, 0.5], "1 to 3"),  # 0.889 is near 0.891, and too far from 0.9
        ([0.9, 0.8, 0.799, 0.7, 0.6, 0.599, 0.598], "2 to 3; 5 to 7"),
        ([0.9, 0.85, 0.8], None),
        ([0.75, 0.74], None),
        ([0.5], None),
        ([], None),
    ],
)
def test_probabilities_that_are_close_are_not_told_apart(values: list[float], places: str | None) -> None:
    said = f"Not told apart, with less than 1\u00a0% between them: numbers {places}. Their order says nothing."
    assert near_ties(ranked(values)) == (said if places else "")


def test_other_scores_are_not_told_apart_where_they_are_equal() -> None:
    said = "Not told apart, with the same score: numbers 2 to 3. Their order says nothing."
    assert near_ties(ranked([4.0, 3.001, 3.001, 3.0], log_odds=False)) == said


@given(st.lists(st.floats(0, 1), max_size=12))
def test_what_is_named_is_near_its_first_and_nothing_else_is(values: list[float]) -> None:
    values = sorted(values, reverse=True)
    named = near_ties(ranked(values)).partition("numbers ")[2].partition(".")[0]
    groups = [tuple(map(int, group.split(" to "))) for group in named.split("; ") if group]
    within = {place for first, last in groups for place in range(first + 1, last + 1)}
    for first, last in groups:
        assert values[first - 1] - values[last - 1] < NEAR
    for place in range(2, len(values) + 1):
        assert place in within or values[place - 2] - values[place - 1] >= NEAR or place - 1 in within
