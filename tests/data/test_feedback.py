"""Likes and dislikes from ratings, binary columns and events."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recalign.data.feedback import FeedbackConfig, label_coded
from recalign.data.interactions import check_interactions, with_codes
from recalign.data.schema import INTERACTIONS
from recalign.errors import DataError


def label(
    interactions: pl.DataFrame, config: FeedbackConfig, *, item_ids: Collection[str] = (), seed: int = 0
) -> pl.DataFrame:
    check_interactions(interactions)
    return label_coded(with_codes(interactions, item_ids), config, item_ids=item_ids, seed=seed)


def events(*pairs: tuple[str, str], rating: float | None = None) -> pl.DataFrame:
    rows = [(user, item, rating, 100 + place, place) for place, (user, item) in enumerate(pairs)]
    return pl.DataFrame(rows, schema=dict(INTERACTIONS), orient="row")


def rated(*ratings: float | None) -> pl.DataFrame:
    return events(*(("u", str(place)) for place in range(len(ratings)))).with_columns(
        rating=pl.Series(ratings, dtype=pl.Float64)
    )


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 20).map(lambda half: half / 2), min_size=1, max_size=30),
    st.integers(-1, 21).map(lambda half: half / 2),
)
def test_every_explicit_flag_is_the_threshold(ratings: list[float], threshold: float) -> None:
    rows = label(rated(*ratings), FeedbackConfig(like_above=threshold)).sort("order")
    assert rows["liked"].to_list() == [rating > threshold for rating in ratings]
    assert not rows["negative"].any()
    assert sorted(rows["event"]) == list(range(len(ratings)))


def test_half_stars_split_at_half_stars() -> None:
    rows = label(rated(3.0, 3.5, 4.0), FeedbackConfig(like_above=3.5))
    assert rows["liked"].to_list() == [False, False, True]


def test_binary_feedback_is_the_column_itself() -> None:
    assert label(rated(1, 0, 1), FeedbackConfig(kind="binary"))["liked"].to_list() == [True, False, True]
    with pytest.raises(DataError, match=r"1 other values, the first is 4\.0"):
        label(rated(1, 0, 4), FeedbackConfig(kind="binary"))


def test_explicit_feedback_needs_every_rating() -> None:
    with pytest.raises(DataError, match=r"1 of 2 rows without one\. Use --feedback implicit"):
        label(rated(4, None), FeedbackConfig(like_above=3))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"like_above": math.nan},
        {"kind": "binary", "like_above": 3},
        {"like_above": 3, "negatives_in_history": True},
        {"kind": "implicit", "negatives": 0},
        {"like_above": 3, "unknown": 1},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FeedbackConfig.model_validate(wrong)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(0, 5))
def test_negatives_are_unseen_distinct_and_beside_their_positive(data: st.DataObject, count: int, seed: int) -> None:
    items = [str(item) for item in range(9)]
    pairs = data.draw(
        st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from(items[:6])), min_size=1, max_size=12, unique=True)
    )
    config = FeedbackConfig(kind="implicit", negatives=count)
    rows = label(events(*pairs), config, item_ids=items, seed=seed)
    assert rows["liked"].to_list() == (~rows["negative"]).to_list()
    assert len(rows) == len(pairs) * (1 + count)
    for group in rows.partition_by("event", maintain_order=True):
        assert group["negative"].to_list() == [False] + [True] * count
        assert group["user_id"].n_unique() == group["timestamp"].n_unique() == group["order"].n_unique() == 1
        assert group["item_id"].n_unique() == count + 1
        own = {item for user, item in pairs if user == group["user_id"][0]}
        assert own.isdisjoint(group.filter("negative")["item_id"])
    shuffled = label(events(*pairs).sample(fraction=1, shuffle=True, seed=1), config, item_ids=items[::-1], seed=seed)
    assert shuffled.equals(rows)


def test_negatives_are_uniform_over_the_unseen_items() -> None:
    pairs = [(str(user), item) for user in range(3000) for item in ("b", "d")]
    rows = label(events(*pairs), FeedbackConfig(kind="implicit", negatives=2), item_ids="abcdef", seed=1)
    drawn = rows.filter("negative")["item_id"].value_counts().sort("item_id")
    assert drawn["item_id"].to_list() == ["a", "c", "e", "f"]
    expected = 2 * len(pairs) / 4
    assert np.abs(drawn["count"].to_numpy() - expected).max() < 4 * math.sqrt(expected)


def test_the_seed_decides_the_negatives() -> None:
    pairs = [(str(user), "0") for user in range(50)]
    config, items = FeedbackConfig(kind="implicit"), [str(item) for item in range(100)]
    first, again, other = (label(events(*pairs), config, item_ids=items, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_user_without_enough_unseen_items_is_named() -> None:
    with pytest.raises(DataError, match=r"user 'v' has too few items left for 2 negatives.*found 1 of 3"):
        label(events(("u", "a"), ("v", "a"), ("v", "b")), FeedbackConfig(kind="implicit", negatives=2), item_ids="abc")


def test_items_outside_the_catalogue_are_refused() -> None:
    with pytest.raises(DataError, match="not in the catalogue; found 1 rows"):
        label(events(("u", "a"), ("u", "z")), FeedbackConfig(kind="implicit"), item_ids="abc")
