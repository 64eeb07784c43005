"""Texts to ids: the backend's short way gives what the tokenizer's own call gives, and changes nothing."""

from __future__ import annotations

import pytest

from recalign.prompting.tokens import common_prefix, tokenise
from recalign.testing.tiny import DEFAULT_LINES, train_tokenizer

TEXTS = ['User Preference: "Heat (1995)"', "", "Amélie 千 <s> x", "Yes."]


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_ids_are_those_of_the_tokenizers_own_call(special: bool, padded: bool) -> None:
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = train_tokenizer(DEFAULT_LINES, 400, tokens, begins=True)
    if padded:
        tokenizer.backend_tokenizer.enable_padding(pad_id=2, pad_token="<pad>")
        tokenizer.backend_tokenizer.enable_truncation(3)
    expected = [tokenizer(text, add_special_tokens=special)["input_ids"] for text in TEXTS]
    assert tokenise(tokenizer, TEXTS, special=special) == expected
    assert expected[0][0] == (0 if special else expected[0][0])


def test_chunks_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train_tokenizer(DEFAULT_LINES, 400, {"pad_token": "<pad>"}, begins=False)
    whole = tokenise(tokenizer, TEXTS, special=True)
    monkeypatch.setattr("recalign.prompting.tokens._CHUNK", 2)
    assert tokenise(tokenizer, TEXTS, special=True) == whole


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [([], [], 0), ([1], [2], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([*range(99), 1], [*range(99), 2], 99)],
)
def test_common_prefix_of_two(first: list[int], second: list[int], shared: int) -> None:
    assert common_prefix([first, second]) == shared
    assert common_prefix([[7, *first], [8, *second]]) == 0


def test_common_prefix() -> None:
    assert common_prefix([(1, 2, 3), (1, 2, 4), (1, 2, 3, 5)]) == 2
    assert common_prefix([(1,), (2,)]) == 0
    assert common_prefix([(1, 2), (1, 2)]) == 2
