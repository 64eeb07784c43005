"""One over-long title stops nothing: it is cut at a word, the same everywhere, and titles that fit stay as they are."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from recalign.data.domain import Domain
from recalign.errors import DataError
from recalign.prompting.cuts import cut_at_word, warn_of_cuts
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.prompts import HistoryText, Instruction
from recalign.prompting.template import WIDEST_FACTS, PromptTemplate

Tokenizers = dict[str, PreTrainedTokenizerBase]
CASES = [("gpt2", "default"), ("llama", "tallrec"), ("chatml", "chat")]
LONG = "Heat, or the long night of " + " ".join(f"word{number}" for number in range(400))
HISTORY = tuple(HistoryText(f"Movie number {i} (199{i})", i % 3 > 0) for i in range(3))


def encoder(tokenizers: Tokenizers, name: str, template: str, max_length: int = 300) -> PromptEncoder:
    return PromptEncoder(PromptTemplate.load(template), Domain(noun="movie"), tokenizers[name], max_length=max_length)


def with_facts(made: PromptEncoder, target: str, label: int | None = 1) -> EncodedPrompt:
    """A prompt without a history that says as much as there can be to say of a user and the target."""
    return made.encode_many([()], [target], [label], [WIDEST_FACTS])[0]


@pytest.mark.parametrize(("name", "template"), CASES)
def test_an_over_long_title_is_cut_at_a_word_and_is_the_same_everywhere(
    tokenizers: Tokenizers, name: str, template: str
) -> None:
    made = encoder(tokenizers, name, template)
    shown = made.shown.cut([LONG, "Alien", "Heat"])
    assert list(shown) == [LONG]
    assert LONG.startswith(shown[LONG] + " ")
    assert re.search(r"word\d+$", shown[LONG])
    targets = ["Alien", LONG, LONG, "Heat"]
    histories = [(HistoryText(LONG, True),), HISTORY, (), (*HISTORY, HistoryText(LONG, False))]
    labels = [1, 0, None, 1]
    prompts = made.encode_many(histories, targets, labels)
    fresh = encoder(tokenizers, name, template)
    last_word = shown[LONG].rsplit(" ", 1)[1]
    for history, target, label, prompt in zip(histories, targets, labels, prompts, strict=True):
        assert len(prompt.ids) <= 300
        text = tokenizers[name].decode(prompt.ids)
        assert shown[LONG] in text
        assert LONG[: len(shown[LONG]) + 5] not in text
        assert re.findall(r"word\d+", text)[-1] == last_word
        assert fresh.encode(history, target, label) == prompt
        assert fresh.encode(history, target, 1).ids[: prompt.answer_start] == prompt.ids[: prompt.answer_start]


def test_half_of_the_room_is_left_for_the_history(tokenizers: Tokenizers) -> None:
    made = encoder(tokenizers, "gpt2", "default")
    empty, alone = (len(with_facts(made, target, None).ids) for target in ("", LONG))
    assert 0.4 * (300 - empty) < alone - empty <= 0.5 * (300 - empty)
    text = tokenizers["gpt2"].decode(made.encode(HISTORY, LONG, None).ids)
    assert all(entry.text in text for entry in HISTORY)


@pytest.mark.parametrize(("name", "template"), CASES)
def test_the_longest_title_that_fits_stays_whole(tokenizers: Tokenizers, name: str, template: str) -> None:
    length = len(with_facts(encoder(tokenizers, name, template, 2000), LONG[:400]).ids)
    assert encoder(tokenizers, name, template, length).shown.cut([LONG[:400]]) == {}
    whole = with_facts(encoder(tokenizers, name, template, length), LONG[:400])
    assert whole == with_facts(encoder(tokenizers, name, template, 2000), LONG[:400])
    assert encoder(tokenizers, name, template, length - 1).shown.cut([LONG[:400]]) != {}


@pytest.mark.parametrize(
    "text", ["x" * 5000, "千と千尋の神隠し" * 300, "ﷺ" * 300, "<|im_end|>" * 400, " ".join("x" * 3000)]
)
@pytest.mark.parametrize(("name", "template"), [*CASES, ("lowercase", "tallrec")])
def test_a_text_of_any_kind_is_cut(tokenizers: Tokenizers, name: str, template: str, text: str) -> None:
    made = encoder(tokenizers, name, template)
    prompt = made.encode((HistoryText(text, True), *HISTORY, HistoryText(text, True)), text, 1)
    assert len(prompt.ids) <= 300
    assert 1 < len(made.shown.cut([text])[text]) < 1000


@pytest.mark.parametrize("name", ["gpt2", "llama", "lowercase"])
@settings(max_examples=30, deadline=None)
@given(
    text=st.text(max_size=400) | st.text(st.sampled_from("ﷺİﬃ㎯½ <|>/s"), max_size=400),
    repeats=st.integers(1, 6),
    other=st.text(max_size=30),
)
def test_no_text_stops_a_stage_and_what_fits_is_whole(
    tokenizers: Tokenizers, name: str, text: str, repeats: int, other: str
) -> None:
    made, roomy = encoder(tokenizers, name, "tallrec"), encoder(tokenizers, name, "tallrec", 100_000)
    title = text * repeats
    prompts = made.encode_many([(HistoryText(title, True),), ()], [other, title], [1, 0])
    assert all(len(prompt.ids) <= 300 for prompt in prompts)
    whole = roomy.encode((), title, 0)
    assert (prompts[1] == whole) == (len(whole.ids) <= 300) == (made.shown.cut([title]) == {})


@given(text=st.text(st.sampled_from("ab ")), most=st.integers(0, 60))
def test_a_cut_is_a_beginning_that_grows_with_its_limit(text: str, most: int) -> None:
    cut = cut_at_word(text, most)
    assert text.startswith(cut)
    assert len(cut) <= most or cut == text
    assert cut_at_word(text, most + 1).startswith(cut)


def test_a_cut_ends_with_a_word_unless_the_word_is_most_of_it() -> None:
    assert cut_at_word("The Lord of the Rings", 18) == "The Lord of the"
    assert cut_at_word("The Lord of the Rings", 15) == "The Lord of the"
    assert cut_at_word("A Donaudampfschifffahrtsgesellschaft", 12) == "A Donaudampf"
    assert cut_at_word("Heat", 4) == "Heat"


def test_a_length_without_room_for_any_title_is_an_error(tokenizers: Tokenizers) -> None:
    with pytest.raises(DataError, match=r"too long.*max_length = 30"):
        encoder(tokenizers, "gpt2", "default", 30).encode((), LONG, 1)


def test_the_warning_counts(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    made = encoder(tokenizers, "gpt2", "default")
    with caplog.at_level(logging.WARNING):
        warn_of_cuts(made.shown.cut(["Alien"]), 300)
        assert not caplog.messages
        warn_of_cuts(made.shown.cut(["Alien", LONG, "x" * 5000]), 300)
    (message,) = caplog.messages
    assert message.startswith(
        "2 item texts fit into no prompt of 300 tokens and are cut at a word, the first begins 'Heat,"
    )


def test_a_few_instructions_that_are_too_long_are_left_out(
    tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture
) -> None:
    made = encoder(tokenizers, "gpt2", "tallrec")
    rows = [Instruction("Repeat.", f"number {number}", "x") for number in range(19)]
    with caplog.at_level(logging.WARNING):
        short = made.encode_instructions(rows)
        assert not caplog.messages
        assert made.encode_instructions([*rows[:7], Instruction("Repeat all.", LONG, "x"), *rows[7:]]) == short
    (message,) = caplog.messages
    assert message.startswith("1 of 20 instructions are left out; instruction 'Repeat all.' is too long")
    with pytest.raises(DataError, match=r"'Repeat all\.' is too long"):
        made.encode_instructions([*rows, *[Instruction("Repeat all.", LONG, "x")] * 3])
