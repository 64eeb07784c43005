"""Texts to token ids, many at once; and the two ids of the label answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from transformers import PreTrainedTokenizerBase

from recalign.errors import ModelError

_CHUNK: Final = 4096  # texts per tokenizer call: bounds memory, changes no result
_SHOWN: Final = 8  # tokens before an answer in a message

Ids = TypeVar("Ids", list[int], tuple[int, ...])


def common_prefix(sequences: Sequence[Ids]) -> int:
    """How many leading ids all `sequences` have in common: those of the two extremes in sorted order, by halving."""
    first, last = min(sequences), max(sequences)
    same, end = 0, min(len(first), len(last))
    while same < end:
        middle = (same + end + 1) // 2
        if first[same:middle] == last[same:middle]:
            same = middle
        else:
            end = middle - 1
    return same


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Ids of each text, whole and unpadded; `special`: with what the tokenizer adds by default (BOS and the like).

    The backend is asked directly, which skips offsets and masks, unless the tokenizer pads or truncates by itself.
    """
    backend = tokenizer.backend_tokenizer
    direct = backend.padding is None and backend.truncation is None
    ids: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        if direct:
            ids += [encoding.ids for encoding in backend.encode_batch_fast(chunk, add_special_tokens=special)]
        else:
            ids += tokenizer(
                chunk,
                add_special_tokens=special,
                padding=False,
                truncation=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
    return ids


def answer_ids(
    tokenizer: PreTrainedTokenizerBase,
    *,
    yes: str,
    no: str,
    context_ids: list[int],
    yes_ids: list[int],
    no_ids: list[int],
) -> tuple[int, int]:
    """First token ids of the answers `yes` and `no` at the answer position, verified to differ.

    Args:
        tokenizer: For messages, and to tell a blank shared token from a shared piece of the answers.
        yes, no: Texts of the answers.
        context_ids, yes_ids, no_ids: A prompt without an answer, and tokenised jointly with either.

    Raises:
        ModelError: the answers do not differ at their first token, or that token of one is unknown or blank.
    """
    shared = common_prefix([yes_ids, no_ids])
    kept = {yes: common_prefix([context_ids, yes_ids]), no: common_prefix([context_ids, no_ids])}
    own = max(kept.values())
    problem: tuple[str, str] | None
    if shared < own:
        joined, apart = sorted(kept, key=kept.__getitem__)
        what = "are not both joined with the text before them, or both apart from it"
        problem = (what, f"{joined!r} grown together with that text, {apart!r} apart from it")
    else:
        problem = _problem(tokenizer, {yes: yes_ids[own:], no: no_ids[own:]}, shared - own)
    if problem:
        raise ModelError(
            f"the answers {yes!r} and {no!r} {problem[0]}",
            found=problem[1],
            expected="two different first tokens, each with a part of its word",
            hint="Choose other answers for the domain (yes, no), or a template that ends differently.",
        )
    return int(yes_ids[shared]), int(no_ids[shared])


def _problem(
    tokenizer: PreTrainedTokenizerBase, answers: Mapping[str, list[int]], shared: int
) -> tuple[str, str] | None:
    """What is wrong with the ids of two answers, of which the first `shared` are the same, and what was found."""
    shorter, longer = sorted(answers, key=lambda answer: len(answers[answer]))
    common = answers[shorter][:shared]
    same = tokenizer.decode(common)
    if shared >= len(answers[shorter]):
        return "do not differ at the first token", f"all tokens of {shorter!r} {common} at the beginning of {longer!r}"
    if same.strip():
        shown = "a part of a letter" if "\ufffd" in same else repr(same)
        return "do not differ at the first token", f"both beginning with {shown} {common}"
    firsts = {answer: ids[shared] for answer, ids in answers.items()}
    for answer, first in firsts.items():
        if first == tokenizer.unk_token_id:
            return "are not both known to the tokenizer", f"{answer!r} beginning with its unknown token [{first}]"
    for answer, first in firsts.items():
        text = tokenizer.decode([first])
        if not text.strip():
            what = "do not both begin with a token that says something (one is blank)"
            return what, f"{answer!r} beginning with the blank {text!r} [{first}]"
    return None


def joined_answers(
    tokenizer: PreTrainedTokenizerBase, template: str, no: list[int], yes: list[int], expected: tuple[int, int]
) -> ModelError:
    """What is wrong where the answers begin otherwise after one prompt than after others.

    `no` and `yes` are the ids of the prompt with either answer, `expected` the first ids of the answers elsewhere.
    """
    shared = common_prefix([no, yes])
    found = f"{_named(tokenizer, no[shared:])} for no and {_named(tokenizer, yes[shared:])} for yes, "
    if shared:
        found += f"after {tokenizer.decode(yes[:shared][-_SHOWN:])!r}"
    else:
        found += "at the very beginning: the tokenizer leaves nothing of the text before them"
    return ModelError(
        f"the tokenizer joins the answers with what stands before them in template {template!r}",
        found=found,
        expected=" and ".join(_named(tokenizer, [index]) for index in expected) + ", after a text of their own",
        hint="End the template's frame with a line break.",
    )


def _named(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The first of `ids` as the tokenizer spells it: ``'ĠYes' [266]``."""
    return f"{tokenizer.convert_ids_to_tokens(ids[0])!r} [{ids[0]}]" if ids else "no token"
