"""The two label answers as tokens: the model is asked which of two ids it would rather say next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from transformers import PreTrainedTokenizerBase

from recalign.errors import ModelError


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of leading ids that two sequences have in common."""
    end = min(len(first), len(second))
    start = max(0, end - 24)  # jointly encoded prompts differ near their ends
    if first[:start] != second[:start]:
        start = 0
    for index in range(start, end):
        if first[index] != second[index]:
            return index
    return end


@dataclass(frozen=True, slots=True)
class Verbalizer:
    """First token ids of the two answers at the answer position, verified to differ."""

    yes: str
    no: str
    yes_id: int
    no_id: int

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        *,
        yes: str,
        no: str,
        context_ids: Sequence[int],
        yes_ids: Sequence[int],
        no_ids: Sequence[int],
    ) -> Self:
        """Take the label ids from one prompt that was encoded alone and jointly with either answer.

        Args:
            tokenizer: For messages, and to tell a blank shared token from a shared piece of the answers.
            yes: Text of the positive answer.
            no: Text of the negative answer.
            context_ids: The prompt without an answer.
            yes_ids: The prompt with the positive answer, tokenised jointly.
            no_ids: The prompt with the negative answer, tokenised jointly.

        Raises:
            ModelError: the answers do not differ at their first token, or that token of one is unknown or blank.
        """
        shared = shared_length(yes_ids, no_ids)
        own = shared_length(context_ids, yes_ids)
        shown = [tokenizer.convert_ids_to_tokens(list(ids[own : own + 6])) for ids in (yes_ids, no_ids)]
        found = (
            f"{yes!r} = {list(yes_ids[own : own + 6])} {shown[0]}, {no!r} = {list(no_ids[own : own + 6])} {shown[1]}"
        )
        hint = "Choose other answers for the domain (yes, no), such as words with different first letters."
        if shared >= min(len(yes_ids), len(no_ids)) or tokenizer.decode(list(yes_ids[own:shared])).strip():
            raise ModelError(
                f"the answers {yes!r} and {no!r} do not differ at the first token",
                found=found,
                expected="two different first tokens",
                hint=hint,
            )
        yes_id, no_id = int(yes_ids[shared]), int(no_ids[shared])
        if tokenizer.unk_token_id in (yes_id, no_id):
            raise ModelError(
                f"the tokenizer does not know one of the answers {yes!r} and {no!r}",
                found=found,
                expected="no unknown token",
                hint=hint,
            )
        if not all(tokenizer.decode([index]).strip() for index in (yes_id, no_id)):
            raise ModelError(
                f"one of the answers {yes!r} and {no!r} begins with a blank token, which says nothing of the answer",
                found=found,
                expected="a first token with a part of the word",
                hint="Take a template with a line break or no space before the answer, or choose other answers.",
            )
        return cls(yes, no, yes_id, no_id)
