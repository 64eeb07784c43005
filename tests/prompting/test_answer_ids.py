from __future__ import annotations

from typing import cast

import pytest
from transformers import PreTrainedTokenizerBase

from recalign.errors import ModelError
from recalign.prompting.tokens import answer_ids


def make(tokenizer: PreTrainedTokenizerBase, yes: str, no: str, context: str = "Answer:\n") -> tuple[int, int]:
    ids = tokenizer([context, context + yes, context + no])["input_ids"]
    return answer_ids(tokenizer, yes=yes, no=no, context_ids=ids[0], yes_ids=ids[1], no_ids=ids[2])


@pytest.mark.parametrize("name", ["gpt2", "llama", "chatml"])
@pytest.mark.parametrize("context", ["Answer:\n", "Answer:", "\n"])
def test_label_ids_come_from_the_joint_encoding(
    tokenizers: dict[str, PreTrainedTokenizerBase], name: str, context: str
) -> None:
    tokenizer = tokenizers[name]
    yes_id, no_id = make(tokenizer, "Yes.", "No.", context)
    assert yes_id != no_id
    assert tokenizer.decode([yes_id]).strip()[0] == "Y"
    assert tokenizer.decode([no_id]).strip()[0] == "N"


@pytest.mark.parametrize(("yes", "no"), [("Yes, A.", "Yes, B."), ("Yes.", "Yes. But"), ("Да.", "Нет.")])
def test_answers_that_start_alike_are_refused(
    tokenizers: dict[str, PreTrainedTokenizerBase], yes: str, no: str
) -> None:
    with pytest.raises(ModelError) as caught:
        make(tokenizers["gpt2"], yes, no)
    message = str(caught.value)
    assert f"the answers {yes!r} and {no!r} do not differ at the first token" in message
    assert "Choose other answers" in message
    assert "[" in message  # the ids


@pytest.mark.parametrize(
    ("name", "yes", "no", "found"),
    [
        ("gpt2", "Yes, A.", "Yes, B.", r"found both beginning with 'Yes[^']*' \["),
        ("gpt2", "Yes.", "Yes. But", r"found all tokens of 'Yes\.' \[.*\] at the beginning of 'Yes\. But'"),
        ("gpt2", "Да.", "Нет.", r"found both beginning with a part of a letter \["),
        ("lowercase", "Yes.", "侍", r"found '侍' beginning with its unknown token \["),
        ("gpt2", " \u4f8d", " No", r"found ' \u4f8d' beginning with the blank ' ' \["),
    ],
)
def test_the_message_says_in_words_what_is_wrong(
    tokenizers: dict[str, PreTrainedTokenizerBase], name: str, yes: str, no: str, found: str
) -> None:
    with pytest.raises(ModelError, match=found):
        make(tokenizers[name], yes, no)


def test_answers_that_the_tokenizer_does_not_know_are_refused(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    with pytest.raises(ModelError, match="not both known to the tokenizer"):
        make(tokenizers["lowercase"], "Yes.", "侍")


def test_a_blank_first_token_is_refused(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    with pytest.raises(ModelError, match="one is blank"):
        make(tokenizers["gpt2"], " \u4f8d", " No")


def test_an_answer_that_grows_together_with_the_prompt_needs_the_other_to_do_so_too() -> None:
    class Letters:
        unk_token_id = None

        @staticmethod
        def decode(ids: list[int]) -> str:
            return "".join(map(chr, ids))

    def made(yes_ids: list[int], no_ids: list[int]) -> tuple[int, int]:
        tokenizer = cast("PreTrainedTokenizerBase", Letters())
        return answer_ids(tokenizer, yes="Y", no="N", context_ids=[*b"a:"], yes_ids=yes_ids, no_ids=no_ids)

    for yes_ids, no_ids, found in (
        ([*b"a:Y"], [*b"aN"], "'N' grown together with that text, 'Y' apart"),
        ([*b"aY"], [*b"a:N"], "'Y' grown together with that text, 'N' apart"),
    ):
        with pytest.raises(ModelError, match=f"both joined.*found {found}"):
            made(yes_ids, no_ids)
    assert made([*b"aY"], [*b"aN"]) == (ord("Y"), ord("N"))
