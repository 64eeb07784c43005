"""A user's taste: ranks of their own ratings, and what these let one expect of items that are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.schema import HistoryEntry
from recalign.data.taste import UNKNOWN_YEAR, Taste, Traits, own_ranks


def rated(*ratings: float | None) -> list[HistoryEntry]:
    """Events with these ratings; above 3 is a like."""
    return [HistoryEntry(f"i{place}", (rating or 0) > 3, rating) for place, rating in enumerate(ratings)]


def traits(genres: str, years: list[float], met: list[float] | None = None, start: int = 0) -> Traits:
    """Items with one genre each, a letter of `genres`; a space has none."""
    shape = (len(genres), 3)
    known = np.array([[letter == name for name in "abc"] for letter in genres], dtype=float).reshape(shape)
    numbers = np.arange(start, start + len(genres), dtype=float)
    others = np.zeros(len(genres))
    return Traits(known, np.array(years, dtype=float), others if met is None else np.array(met), others, numbers)


def test_equal_ratings_share_the_middle_of_their_places() -> None:
    np.testing.assert_allclose(own_ranks(rated(5, 1, 3, 3)), np.array([4, 1, 2.5, 2.5]) / 5 - 0.5)
    assert len(own_ranks([])) == 0


def test_an_event_without_a_rating_is_like_the_mean_of_its_answer() -> None:
    events = [*rated(1, 2, 4, 5, 5), HistoryEntry("x", True), HistoryEntry("y", False)]
    ranks = own_ranks(events)
    assert ranks[2] < ranks[5] < ranks[3], "4 < (4 + 5 + 5) / 3 < 5"
    assert ranks[0] < ranks[6] < ranks[1]
    likes = own_ranks([HistoryEntry("x", True), HistoryEntry("y", False), HistoryEntry("z", True)])
    np.testing.assert_allclose(likes, np.array([2.5, 1, 2.5]) / 4 - 0.5)


@settings(max_examples=50, deadline=None)
@given(ratings=st.lists(st.integers(1, 10), min_size=1, max_size=12), scale=st.sampled_from([0.5, 1, 20]))
def test_the_scale_of_ratings_does_not_matter(ratings: list[int], scale: float) -> None:
    events = [HistoryEntry("i", rating > 6, rating) for rating in ratings]
    scaled = [HistoryEntry("i", rating > 6, 3 + scale * rating) for rating in ratings]
    ranks = own_ranks(events)
    np.testing.assert_array_equal(ranks, own_ranks(scaled))
    assert np.abs(ranks).max() < 0.5
    assert ranks.sum() == pytest.approx(0, abs=1e-9)


def test_what_is_alike_is_expected_to_be_liked_alike() -> None:
    past = traits("aabb", [1990, 1992, 1990, 1992])
    taste = Taste.learn(past, own_ranks(rated(5, 4, 1, 2)))
    same, other, untold, later = taste.of(traits("aba" + " ", [1991, 1991, 2020, 1991], start=4)).take([0, 1, 3, 2])
    assert same > later > untold > other
    assert same == pytest.approx(-other, rel=0.2)


def test_years_and_how_many_met_an_item_make_it_alike_without_genres() -> None:
    past = traits("    ", [1950, 1951, 2000, 2001], met=[2, 2, 6, 6])
    taste = Taste.learn(past, own_ranks(rated(5, 4, 1, 2)))
    old, new, rare = taste.of(traits("   ", [1952, 1999, 1952], met=[2, 6, 6], start=4))
    assert old > rare > new


def test_an_unknown_year_is_like_no_known_one() -> None:
    past = traits("  ", [UNKNOWN_YEAR, 1990])
    taste = Taste.learn(past, own_ranks(rated(5, 1)))
    unknown, known = taste.of(traits("  ", [UNKNOWN_YEAR, 1990], start=2))
    assert unknown > known


def test_the_value_is_the_mean_of_the_posterior() -> None:
    """Against the covariance of all items together, of which the events are observed."""
    rng = np.random.default_rng(3)
    genres = (rng.random((7, 4)) < 0.5).astype(float)
    years, met, opinion = rng.integers(1960, 2000, 7).astype(float), rng.random(7) * 5, rng.random(7) - 0.5
    events = np.array([0, 1, 2, 3, 4, 5, 5], dtype=float)
    whole = Traits(genres, years, met, opinion, events)
    covariance = np.zeros((7, 7))
    for i in range(7):
        for j in range(7):
            sizes = np.sqrt(genres[i].sum() * genres[j].sum())
            shared = genres[i] @ genres[j] / sizes if sizes else 0.0
            near = np.exp(-abs(years[i] - years[j]) / 8 - abs(met[i] - met[j]) / 1.5)
            far = np.exp(-abs(opinion[i] - opinion[j]) / 0.1) + np.exp(-abs(events[i] - events[j]) / 10)
            covariance[i, j] = (shared**2 + 1) * near + shared + far / 2
    ranks = own_ranks(rated(5, 1, 4, 2, 3))
    surprise = ranks - opinion[:5] - (ranks - opinion[:5]).mean()
    expected = covariance[5:, :5] @ np.linalg.inv(covariance[:5, :5] + 16 * np.eye(5)) @ surprise
    part = [Traits(*(getattr(whole, name)[rows] for name in Traits.__slots__)) for rows in (slice(5), slice(5, 7))]
    np.testing.assert_allclose(Taste.learn(part[0], ranks).of(part[1]), expected, rtol=1e-9)


def test_a_user_who_ranks_as_others_do_has_no_taste() -> None:
    ranks = own_ranks(rated(5, 1, 3))
    past = traits("abc", [1990, 1991, 1992])
    as_others = Traits(past.genres, past.years, past.met, ranks, past.events)
    np.testing.assert_allclose(Taste.learn(as_others, ranks).of(traits("a", [1990], start=3)), 0, atol=1e-12)
