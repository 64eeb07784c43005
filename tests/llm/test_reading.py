"""What is said of any answer, whatever was asked."""

from __future__ import annotations

import pytest

from recalign.llm.base import Completion
from recalign.llm.reading import EMPTY, LENGTH, OFF_SCHEMA, REFUSAL, off_schema, unusable, without_thoughts


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>Yes? No.</think>\n\nNo.", "No."),
        (" <Thinking>a\nb</thinking>Yes", "Yes"),
        ("They liked it. Yes? No.</think>\n\nNo.", "No."),  # servers that show the closing tag alone
        ("<think>a</think> b </think> Yes", "Yes"),
        ("<think>never closed", ""),
        ("<|channel|>analysis<|message|>Yes?<|end|><|start|>assistant<|channel|>final<|message|>No.<|return|>", "No."),
        ("<|channel|>analysis<|message|>Yes, but", ""),
        ("Yes.<|end|>", "Yes."),
        ("  Yes.", "  Yes."),
    ],
)
def test_thoughts_before_an_answer_are_taken_off(text: str, rest: str) -> None:
    assert without_thoughts(text) == rest


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (Completion("Yes."), ""),
        (Completion("Yes.", None), ""),
        (Completion("", refusal="No, thank you."), REFUSAL),
        (Completion("Yes.", "content_filter"), REFUSAL),
        (Completion("Yes. The us", "length"), LENGTH),
        (Completion("Yes.", "tool_calls"), OFF_SCHEMA),
        (Completion("", "tool_calls"), EMPTY),
        (Completion("<think>Hm.</think> \n"), EMPTY),
        (Completion("<think>Yes, yes"), EMPTY),
        (Completion("<think>Yes, yes", "length"), LENGTH),
    ],
)
def test_answers_that_cannot_be_used_whatever_they_say(completion: Completion, reason: str) -> None:
    assert unusable(completion) == reason


def test_a_refusal_in_words_is_named_as_one() -> None:
    assert off_schema("<think>Hm.</think> I'm sorry, but no.") == REFUSAL
    assert off_schema("Tut mir leid, das geht nicht.") == REFUSAL
    assert off_schema("The weather is fine.") == OFF_SCHEMA
