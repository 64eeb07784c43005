"""The two label answers as tokens: the model is asked which of two ids it would rather say next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from transformers import PreTrainedTokenizerBase

from recalign.errors import ModelError
from recalign.prompting.tokens import common_prefix


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
        context_ids: list[int],
        yes_ids: list[int],
        no_ids: list[int],
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
        shared = common_prefix([yes_ids, no_ids])
        kept = max(common_prefix([context_ids, answered]) for answered in (yes_ids, no_ids))
        own = min(kept, shared)
        problem = _problem(tokenizer, yes_ids[own:], no_ids[own:], shared - kept)
        if problem:
            shown = [f"{list(ids[own : own + 6])} {tokenizer.decode(list(ids[own:]))!r}" for ids in (yes_ids, no_ids)]
            raise ModelError(
                f"the answers {yes!r} and {no!r} {problem}",
                found=f"{yes!r} = {shown[0]}, {no!r} = {shown[1]}",
                expected="two different first tokens, each with a part of its word",
                hint="Choose other answers for the domain (yes, no), or a template that ends differently.",
            )
        return cls(yes, no, int(yes_ids[shared]), int(no_ids[shared]))


def _problem(tokenizer: PreTrainedTokenizerBase, yes: Sequence[int], no: Sequence[int], shared: int) -> str:
    """What is wrong with the ids of the two answers, of which the first `shared` are the same; empty if nothing is.

    `shared` is negative where only one of the answers has grown together with the last token of the prompt.
    """
    if shared < 0:
        return "are not both joined with the text before them, or both apart from it"
    if shared >= min(len(yes), len(no)) or tokenizer.decode(list(yes[:shared])).strip():
        return "do not differ at the first token"
    first = (yes[shared], no[shared])
    if tokenizer.unk_token_id in first:
        return "are not both known to the tokenizer"
    if not all(tokenizer.decode([index]).strip() for index in first):
        return "do not both begin with a token that says something (one is blank)"
    return ""
