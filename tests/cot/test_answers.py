"""Which completions become data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recalign.cot.answers import Accepted, read_answer
from recalign.llm.base import Completion
from recalign.llm.reading import EMPTY, LENGTH, OFF_SCHEMA, REFUSAL
from recalign.prompting.prompts import CotFields

FIELDS = CotFields(("A", "B", "C"), ("D", "E", "F", "G"), n_recommend=4, n_featured=2)


def read(step: int, text: str, reason: str | None = "stop", **fields: object) -> Accepted | str:
    return read_answer(step, Completion(text, reason), replace(FIELDS, **fields))  # type: ignore[arg-type]


def test_a_summary_becomes_one_line() -> None:
    answer = read(1, "<Answer 1>: The user likes\n* drama\n### and crime. ")
    assert answer == Accepted(replace(FIELDS, preferences="The user likes * drama # and crime."))


def test_featured_items_beyond_the_limit_are_cut() -> None:
    answer = read(2, "1. C\n2. A\n3. B")
    assert isinstance(answer, Accepted)
    assert (answer.items, answer.fields.featured) == ((2, 0), ("C", "A"))


def test_pairs_beyond_the_limit_are_cut_so_that_listing_all_is_no_hit() -> None:
    answer = read(3, "1. A - D\n2. A - E\n3. B - F\n4. B - G", n_recommend=2)
    assert isinstance(answer, Accepted)
    assert (answer.items, answer.fields.pairs) == ((0, 1), (("A", "D"), ("A", "E")))


def test_unknown_entries_are_left_out_and_counted() -> None:
    answer = read(3, "1. A - D\n2. A - X\n3. Y - E\n4. B - F")
    assert isinstance(answer, Accepted)
    assert (answer.items, answer.unknown) == ((0, 2), 2)


@pytest.mark.parametrize(
    ("step", "text", "finish", "reason"),
    [
        (1, "The user likes drama", "length", LENGTH),
        (1, "  \n ", "stop", EMPTY),
        (1, "", "content_filter", REFUSAL),
        (1, "As an AI language model, I have no preferences.", "stop", REFUSAL),
        (1, "Sorry, I cannot do that for you.", "stop", REFUSAL),
        (1, "Es tut mir leid, das geht nicht.", "stop", REFUSAL),
        (1, "Drama.", "stop", OFF_SCHEMA),
        (1, "The user likes drama.", "tool_calls", OFF_SCHEMA),
        (2, "I'm sorry, I can't choose.", "stop", REFUSAL),
        (2, "1. X\n2. Y", "stop", OFF_SCHEMA),
        (2, "None of them.", "stop", OFF_SCHEMA),
        (3, "1. A - D", "stop", OFF_SCHEMA),
        (3, "1. D\n2. E\n3. F", "stop", OFF_SCHEMA),
        (3, '{"pairs": []}', None, OFF_SCHEMA),
    ],
)
def test_what_is_rejected_and_why(step: int, text: str, finish: str | None, reason: str) -> None:
    assert read(step, text, finish) == reason


def test_a_title_that_sounds_like_a_refusal_is_a_title() -> None:
    answer = read(2, "I Can't Sleep", consumed_items=("I Can't Sleep",))
    assert isinstance(answer, Accepted)


def test_what_is_thought_aloud_is_no_part_of_the_answer() -> None:
    answer = read(1, "<think>\nHm. Drama?\n</think>\n\nThe user likes drama.")
    assert answer == Accepted(replace(FIELDS, preferences="The user likes drama."))
    assert read(1, "<think>Hm.</think>\n") == EMPTY


def test_a_refusal_in_its_own_field() -> None:
    completion = Completion("The user likes drama.", refusal="No.")
    assert read_answer(1, completion, FIELDS) == REFUSAL


@pytest.mark.parametrize("finish", [None, "stop", "eos", "end_turn"])
def test_reasons_that_mean_a_complete_answer(finish: str | None) -> None:
    assert isinstance(read(1, "The user likes drama.", finish), Accepted)
