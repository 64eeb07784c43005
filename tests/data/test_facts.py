"""Facts beside a prompt come from events before the target and from other users."""

from __future__ import annotations

import math

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.catalog import ItemCatalog
from recalign.data.facts import PAST, FactFinder, GenreFact, ItemFacts, UserFacts
from recalign.data.knowledge import TitleKnowledge
from recalign.data.samples import CandidateList
from recalign.data.schema import ITEMS, HistoryEntry

GENRES = {
    0: ["Drama"],
    1: ["Comedy", "Drama"],
    2: ["Comedy"],
    3: [],
    4: ["Drama", "Drama", " ", "War", "Noir", "Western"],
}
ROWS = [
    {"item_id": f"i{number}", "title": f"Film {number}", "year": 1990 + number, "genres": GENRES[number % 5]}
    for number in range(30)
]
CATALOG = ItemCatalog.from_items(pl.DataFrame(ROWS, schema=ITEMS), "{title}")


def entries(likes: str, start: int = 0) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(f"i{start + place}", mark == "+") for place, mark in enumerate(likes))


def knowledge(users: int = 24) -> TitleKnowledge:
    """Everybody likes the even ones; only half of the users met those from 15 on."""
    return TitleKnowledge.count(
        (CATALOG, f"other {user}", [HistoryEntry(f"i{n}", n % 2 == 0) for n in range(30 if user % 2 else 15)])
        for user in range(users)
    )


def test_counts_are_those_of_the_past() -> None:
    asked = CandidateList("u", entries("++-"), ("i11", "i13", "i4"))
    found = FactFinder(CATALOG).of(asked)
    weights = [math.exp(-k / 16) for k in range(3)]
    recency = round(100 * (weights[2] + weights[1]) / sum(weights))
    assert [facts.user for facts in found] == [UserFacts(2, 3, 2, 3, recency, None, 0)] * 3
    assert found[0].item.genres == (GenreFact("Comedy", 1, 2), GenreFact("Drama", 2, 2))
    assert found[1].item.genres == ()
    assert [genre.name for genre in found[2].item.genres] == ["Drama", "War", "Noir", "Western"]
    assert (found[0].item.liked_by, found[0].item.met_by) == (None, None)


def test_taste_is_higher_for_what_is_like_the_liked() -> None:
    """Of twenty items all dramas were liked, and nothing else."""
    likes = "".join("+" if "Drama" in GENRES[number % 5] else "-" for number in range(20))
    asked = CandidateList("u", entries(likes), ("i20", "i22", "i21", "i23"))
    drama, comedy, both, untold = (facts.item.taste for facts in FactFinder(CATALOG).of(asked))
    assert drama > 0 > comedy
    assert drama > both > comedy
    assert drama > untold, "it has no genre"


def test_taste_compares_with_what_others_think() -> None:
    """Who likes what all like has no taste of their own; who likes what nobody does, has."""
    finder = FactFinder(CATALOG, knowledge())
    as_others, otherwise = (finder.of(CandidateList("u", entries(likes * 5), ("i12", "i13"))) for likes in ("+-", "-+"))
    assert [abs(facts.item.taste) for facts in as_others] == [0, 0]
    assert otherwise[1].item.taste > 0 > otherwise[0].item.taste


def test_others_are_told_where_they_were_counted() -> None:
    finder = FactFinder(CATALOG, knowledge())
    liked, disliked, rare = (facts.item for facts in finder.of(CandidateList("u", entries("+"), ("i2", "i3", "i21"))))
    assert liked.liked_by is not None
    assert disliked.liked_by is not None
    assert rare.liked_by is not None
    assert liked.liked_by > 80 > 20 > disliked.liked_by
    assert rare.liked_by > disliked.liked_by, "fewer ratings: nearer to the mean"
    assert (liked.met_by, rare.met_by) == (16, 8), "rounded down to a power of two"


def test_without_events_nothing_is_said_of_the_user() -> None:
    (facts,) = FactFinder(CATALOG, knowledge()).of(CandidateList("u", (), ("i0",)))
    assert facts.user == UserFacts()
    assert facts.item.taste == 0
    assert facts.item.genres == (GenreFact("Drama", 0, 0),)


def test_all_of_the_past_counts_up_to_its_limit() -> None:
    earlier, history = entries("-" * 20), entries("+" * 3, start=20)
    split = FactFinder(CATALOG).of(CandidateList("u", history, ("i29",), earlier))
    assert split == FactFinder(CATALOG).of(CandidateList("u", (*earlier, *history), ("i29",)))
    assert (split[0].user.liked, split[0].user.met) == (3, 23)
    long = entries("+") * 50 + entries("-") * PAST
    assert FactFinder(CATALOG).of(CandidateList("u", long, ("i29",)))[0].user.liked == 0


@settings(max_examples=40, deadline=None)
@given(
    likes=st.text("+-", min_size=1, max_size=20),
    items=st.lists(st.sampled_from([f"i{n}" for n in range(30)]), min_size=1, max_size=8),
    known=st.booleans(),
)
def test_facts_of_an_item_do_not_depend_on_what_else_is_asked(likes: str, items: list[str], known: bool) -> None:
    finder = FactFinder(CATALOG, knowledge() if known else None)
    together = finder.of(CandidateList("u", entries(likes), tuple(items)))
    alone = [finder.of(CandidateList("u", entries(likes), (item,)))[0] for item in items]
    assert together == alone
    for facts in together:
        assert -100 <= facts.item.taste <= 100
        assert 0 <= facts.user.recent_liked <= facts.user.recent_met <= 3


def test_an_item_that_no_catalogue_has_read_before_is_still_asked_about() -> None:
    frame = pl.DataFrame([{"item_id": "x", "title": None}], schema=ITEMS).with_columns(text=pl.lit("something"))
    (facts,) = FactFinder(ItemCatalog(frame), knowledge()).of(CandidateList("u", (), ("x",)))
    assert facts.item == ItemFacts((), 0, facts.item.liked_by, 0)
