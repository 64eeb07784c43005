"""Item texts that no prompt can hold: what is shown of them instead.

What is shown depends on the text alone, not on the history or the other targets of a prompt, so tuning, scoring and
in-context learning show the same.
"""

from __future__ import annotations

import logging
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from recalign.terminal import printable

logger = logging.getLogger(__name__)

_MARGIN: Final = 8  # tokens by which a text inside a prompt may come out longer than alone


class TextCuts:
    """Decides which texts are cut, and where; for one encoder."""

    def __init__(self, lengths: Callable[[Sequence[str]], list[int]], clean: Callable[[str], str]) -> None:
        """Args:
        lengths: Tokens of a prompt per text, with that text as its target and without a history.
        clean: Makes a text harmless once more after the cut.
        """
        self._lengths, self._clean = lengths, clean
        self._empty: int | None = None
        self._known: dict[tuple[int, str], str] = {}

    def shown(self, texts: Sequence[str], longest: int) -> dict[str, str]:
        """What a prompt of at most `longest` tokens shows of each text: the text itself wherever it fits alone.

        Another one is cut to half of what fits, so that a history stays beside it. A text that leaves nothing even so
        comes back whole.
        """
        distinct = dict.fromkeys(texts)
        new = [text for text in distinct if (longest, text) not in self._known and self.may_be_cut(text, longest)]
        for text, length in zip(new, self._lengths(new) if new else [], strict=True):
            self._known[longest, text] = text if length <= longest else self._cut(text, longest)
        return {text: self._known.get((longest, text), text) for text in distinct}

    def may_be_cut(self, text: str, longest: int, growth: int = 1) -> bool:
        """Whether `text`, at most `growth` times as long once it is harmless, may be too long and can be cut."""
        return 0 < self._room(longest) < growth * most_tokens(text) + _MARGIN

    def _room(self, longest: int) -> int:
        """Tokens that a prompt leaves for its target, beyond those of the shortest one."""
        if self._empty is None:
            self._empty = self._lengths(["x"])[0]
        return longest - self._empty

    def _cut(self, text: str, longest: int) -> str:
        most_used = longest - self._room(longest) // 2

        def too_long(length: int) -> bool:
            return self._lengths([self._clean(cut_at_word(text, length))])[0] > most_used

        most = bisect_left(range(1, len(text)), True, key=too_long)
        return self._clean(cut_at_word(text, most)) or text


def most_tokens(text: str) -> int:
    """No tokenizer makes more tokens of `text` alone: one for each byte, with accents and ligatures taken apart."""
    return len(text) if text.isascii() else len(unicodedata.normalize("NFKD", text).encode("utf-8", "surrogatepass"))


def cut_at_word(text: str, most: int) -> str:
    """The beginning of `text`, at most `most` characters: it ends with a word unless that would halve it again."""
    if len(text) <= most:
        return text
    space = text.rfind(" ", most // 2, most + 1)
    return text[: space if space > 0 else most].rstrip()


def warn_of_cuts(cut: Mapping[str, str], longest: int) -> None:
    """Log how many texts are cut (`ShownTexts.cut`) and how the first one begins."""
    if cut:
        first = printable(next(iter(cut.values()))[:60])
        told = "%d item texts fit into no prompt of %d tokens and are cut at a word, the first begins %r"
        logger.warning(f"{told}; recalign audit --backbone names them", len(cut), longest, first)
