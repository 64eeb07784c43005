"""Texts to token ids, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from transformers import PreTrainedTokenizerBase

_CHUNK: Final = 4096  # texts per tokenizer call: bounds memory, changes no result

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

    The tokenizer is not changed. Where it pads or truncates by itself, its own call switches that off for the moment;
    otherwise its backend is asked directly, which skips what nobody asks for here (offsets, masks).
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
