"""Control tokens (``<|im_start|>``, ``</s>``, ``[INST]``) that stand in a title must stay ordinary text.

Tokenizers recognise such strings anywhere in the text, and the whole prompt is tokenised jointly, so the string itself
is broken up where it comes from outside. Whether that worked is checked in the ids, whatever the tokenizer normalises.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from transformers import PreTrainedTokenizerBase

from recalign.errors import DataError
from recalign.prompting.tokens import tokenise

_BRACKETS: Final = frozenset("<>[]{}|")
_BYTE: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # what byte fallback makes of strange letters: no control token
_MARKER: Final = re.compile(r"<+[^<>\s]+>+|\[[^\[\]\s]+\]")
_CACHE_LIMIT: Final = 1 << 18


class ControlTokens:
    """The control tokens of one tokenizer, and texts made inert against them.

    Control tokens are all special tokens, and those added tokens that look like markup (an added "Schuh" is a word).
    The unknown token's id is not counted, because strange letters produce it too; its string is broken up nevertheless.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, frame: str = "") -> None:
        """Collect the control tokens of `tokenizer`, and the markup in `frame` (where ``[INST]`` may be plain text)."""
        self._tokenizer = tokenizer
        special = set(tokenizer.all_special_tokens)
        ids: dict[str, int] = {}
        for index, token in tokenizer.added_tokens_decoder.items():
            content = str(token.content)
            control = token.special or content in special or _BRACKETS & set(content)
            if control and content.strip() and not _BYTE.fullmatch(content):
                ids[content] = int(index)
        for content in special - set(ids):
            ids[content] = int(tokenizer.convert_tokens_to_ids(content))
        unknown = tokenizer.unk_token_id
        self.ids: frozenset[int] = frozenset(ids.values()) - {unknown}
        strings = {content for content in ids if content.strip()} | set(_MARKER.findall(frame))
        self._any = _alternatives(strings)
        # Strings whose presence no id betrays.
        self._unseen = _alternatives(text for text in strings if text not in ids or ids[text] == unknown)
        self._inert: dict[tuple[str, Callable[[str], str]], str] = {}

    def inert(self, texts: Sequence[str], clean: Callable[[str], str] = str) -> list[str]:
        """`texts` with every control token in them broken up; a text without one comes back as `clean` gives it.

        The result is a fixed point of `clean`. Equal texts give equal results, whatever they are called together with.

        Raises:
            DataError: a text stays harmful whatever is taken out of it.
        """
        distinct = dict.fromkeys(texts)
        new = [text for text in distinct if (text, clean) not in self._inert]
        if len(self._inert) + len(new) > _CACHE_LIMIT:
            self._inert.clear()
            new = list(distinct)
        cleaned = [clean(text) for text in new]
        for text, candidate, harmful in zip(new, cleaned, self._harmful(cleaned), strict=True):
            self._inert[text, clean] = self._defused(candidate, clean) if harmful else candidate
        return [self._inert[text, clean] for text in texts]

    def _harmful(self, texts: Sequence[str]) -> list[bool]:
        encoded = tokenise(self._tokenizer, texts, special=False)
        return [
            not self.ids.isdisjoint(ids) or self._unseen.search(text) is not None
            for ids, text in zip(encoded, texts, strict=True)
        ]

    def _defused(self, text: str, clean: Callable[[str], str]) -> str:
        """Break markup up, more and more roughly, until neither ids nor strings show any."""
        plain = unicodedata.normalize("NFKC", text)
        words = "".join(char if char.isalnum() or char in " .,:;'\n" else " " for char in plain)
        for candidate in (text, plain, words):
            broken = candidate
            for _ in range(4):  # breaking one token can leave another one that was hidden inside
                broken = clean(self._any.sub(_spaced, broken))
                if not self._harmful([broken])[0]:
                    return broken
        raise DataError(
            f"text {text[:60]!r} contains control tokens of the tokenizer that cannot be broken up",
            expected="a title that is text",
            hint="Remove the item, or use another backbone.",
        )


def _alternatives(strings: Iterable[str]) -> re.Pattern[str]:
    """Matches any of `strings`, the longest first; matches nothing if there is none."""
    ordered = sorted(strings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)", re.IGNORECASE)


def _spaced(match: re.Match[str]) -> str:
    """A space after the first character; a token of one character becomes a space."""
    text = match.group()
    return f"{text[0]} {text[1:]}" if len(text) > 1 else " "
