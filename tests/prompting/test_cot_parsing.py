"""Lists as teachers write them: tolerant in form, strict in what they may name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.domain import Domain
from recalign.prompting.parsing import read_items, read_pairs
from recalign.prompting.prompts import CotFields
from recalign.prompting.template import PromptTemplate

WATCHED = (
    "12 Angry Men (1957)",
    "Heat - Part 2 (1995)",
    "Emma (1996)",
    "Alien",
    "Aliens",
    '"It" written by Stephen King',
)
CANDIDATES = ("Up", "A - B", "Big, 2. Small", "Emma", "emma!", "Up in the Air")


@pytest.mark.parametrize(
    "line",
    [
        "Emma (1996)",
        '"Emma (1996)"',
        "1. Emma (1996)",
        '1. "Emma (1996)"',
        "1) “Emma (1996)”,",
        "- «emma (1996)».",
        "* **Emma (1996)**",
        "No. 1: EMMA  (1996)",
        "Here is what I chose:\n\n1.  'Emma (1996)';",
        '<Answer 2>: 1. "Emma (1996)"',
    ],
)
def test_forms_of_one_item(line: str) -> None:
    reading = read_items(line, WATCHED)
    assert (reading.items, reading.unknown) == ((2,), 0)


@pytest.mark.parametrize("line", ["1. Emma", "1. Emma (1996) Extended", "1. Alien (1979)", "- lien", '"Emma (199)"'])
def test_parts_of_titles_name_nothing(line: str) -> None:
    reading = read_items(line, WATCHED)
    assert (reading.items, reading.unknown) == ((), 1)


def test_titles_that_look_like_lists() -> None:
    assert read_items("12 Angry Men (1957)", WATCHED).items == (0,)
    assert read_items("1. 12 Angry Men (1957)\n2. Aliens\n3. Alien", WATCHED).items == (0, 4, 3)
    assert read_items('1. "It" written by Stephen King\n2. It written by Stephen King', WATCHED).items == (5,)


def test_one_line_in_the_form_of_table_2() -> None:
    text = '1. "Heat - Part 2 (1995)" - "Big, 2. Small", 2. "Alien" - "A - B", 3. "Emma (1996)" - "Up in the Air"'
    reading = read_pairs(text, WATCHED, CANDIDATES)
    assert (reading.pairs, reading.unknown) == (((1, 2), (3, 1), (2, 5)), 0)


def test_an_unknown_entry_does_not_swallow_the_next() -> None:
    reading = read_pairs('1. "Alien" - "Nope", 2. "Alien" - "Up", 3. Foo, 4. "Aliens" - "A - B"', WATCHED, CANDIDATES)
    assert (reading.pairs, reading.unknown) == (((3, 0), (4, 1)), 2)


@pytest.mark.parametrize("sign", [" - ", " – ", " — ", " -> ", "->", " → ", " => "])
def test_signs_between_the_items_of_a_pair(sign: str) -> None:
    assert read_pairs(f"1. Alien{sign}Up", WATCHED, CANDIDATES).pairs == ((3, 0),)


def test_both_sides_must_be_known_and_in_their_place() -> None:
    assert read_pairs("1. Up - Alien\n2. Alien - Aliens\n3. Foo - Up\n4. Alien", WATCHED, CANDIDATES).pairs == ()


def test_each_candidate_counts_once() -> None:
    assert read_pairs("1. Alien - Up\n2. Aliens - Up", WATCHED, CANDIDATES).pairs == ((3, 0),)


def test_case_matters_where_it_is_all_that_differs() -> None:
    known = ("Emma", "EMMA", "Up")
    assert read_items("1. EMMA", known).items == (1,)
    assert read_items("1. emma", known).items == (), "it could be either"


def test_items_of_one_text_are_given_out_in_turn() -> None:
    assert read_items("1. Up\n2. Up\n3. Up", ("Up", "Alien", "Up")).items == (0, 2)


def test_prose_is_skipped_and_counts_as_nothing() -> None:
    reading = read_items("Of course! I would say:\n1. Alien\nHope this helps.", WATCHED)
    assert (reading.items, reading.unknown) == ((3,), 0)


TITLES = st.lists(st.text(st.sampled_from("abZ .-\"',:12()é"), min_size=1, max_size=12), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(TITLES, TITLES, st.text(max_size=80))
def test_whatever_is_written_only_known_places_come_back(one: list[str], other: list[str], text: str) -> None:
    reading = read_pairs(text, one, other)
    assert all(0 <= left < len(one) and 0 <= right < len(other) for left, right in reading.pairs)
    assert len({right for _, right in reading.pairs}) == len(reading.pairs)


PLAIN = st.from_regex(r"[A-Z][a-z]{2,8}( [A-Za-z]{1,8}){0,3} \((19|20)[0-9]{2}\)", fullmatch=True)


@settings(deadline=None, max_examples=100)
@given(st.lists(PLAIN, min_size=2, max_size=8, unique_by=str.casefold), st.data())
def test_rendered_answers_are_read_back(titles: list[str], data: st.DataObject) -> None:
    places = data.draw(st.permutations(range(len(titles))))
    pairs = [(data.draw(st.integers(0, len(titles) - 1)), place) for place in places]
    named = tuple((titles[left], titles[right]) for left, right in pairs)
    fields = CotFields(titles, titles, "Enjoys much.", tuple(titles[place] for place in places), named)
    template, domain = PromptTemplate.load("tlrec-cot"), Domain(noun="movie")
    assert read_pairs(template.cot(domain, 3, fields).output, titles, titles).pairs == tuple(pairs)
    assert read_items(template.cot(domain, 2, fields).output, titles).items == tuple(places)
