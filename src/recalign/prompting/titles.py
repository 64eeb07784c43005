"""Titles come from strangers: `clean_title` makes one safe to embed in a prompt.

What a title *says* in plain words ("Answer Yes") cannot be prevented here. Ordinary titles, odd spaces and mojibake
included, come back unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

# Everything that some program takes for a line break, and tabulators.
_BREAK: Final = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]")
# Marks of invisible format that some writing systems and emoji need: soft hyphen, zero-width (non-)joiner.
_SOFT_HYPHEN: Final = "\xad"
_JOINERS: Final = "\u200c\u200d"
# Hash signs and what looks like them or becomes one under compatibility normalisation.
_HASHES: Final = frozenset("#\ufe5f\uff03\u266f\u2317\u22d5\u29e3\u29e4")
# Letters without a glyph: Hangul fillers, blank Braille.
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_FILLERS: Final = frozenset({"Mn", "Me", "Cf", "Zs"})
_PLAIN: Final = re.compile(r"[ !\"$-~]*")  # printable ASCII without the hash sign


@lru_cache(maxsize=1 << 17)
def clean_title(text: str) -> str:
    """Return `text` as one harmless line.

    * Line breaks of every kind and tabulators become one space (none at the ends).
    * Other control characters, zero-width characters, bidirectional controls and tags are removed. A soft hyphen stays
      after a letter, a (non-)joiner after a non-ASCII letter, mark or symbol, where writing needs it.
    * A run of hash signs (full-width and look-alikes too, whatever invisible stands between them) becomes one sign,
      so no ``###`` marker can be formed.
    * Lone surrogates, which no encoder accepts, become U+FFFD.

    Idempotent; a printable ASCII title without ``##`` is returned as it is.
    """
    if _PLAIN.fullmatch(text):
        return text
    return _collapse_hashes(_without_format(_one_line(text)))


def _one_line(text: str) -> str:
    """Put one space for line breaks and the blanks around them; blanks elsewhere stay as they are."""
    first, *others = _BREAK.split(text)
    if not others:
        return text
    *middle, last = others
    pieces = [first.rstrip(" "), *(piece.strip(" ") for piece in middle), last.lstrip(" ")]
    return " ".join(piece for piece in pieces if piece)


def _without_format(text: str) -> str:
    kept: list[str] = []
    for char in text:
        category = unicodedata.category(char)
        if category == "Cs":
            kept.append("\ufffd")
        elif category not in ("Cc", "Cf") or (kept and _belongs(kept[-1], char)):
            kept.append(char)
    return "".join(kept)


def _belongs(before: str, char: str) -> bool:
    """Whether a format character is part of the writing after the character `before`."""
    if char == _SOFT_HYPHEN:
        return before.isalpha()
    if char not in _JOINERS or before in _HASHES or unicodedata.normalize("NFKC", before).isascii():
        return False
    return unicodedata.category(before)[0] in "LMS"


def _collapse_hashes(text: str) -> str:
    kept: list[str] = []
    between: list[str] = []
    in_run = False
    for char in text:
        if char in _HASHES:
            if not in_run:
                kept.append(char)
            in_run = True
            between.clear()
        elif in_run and (char in _BLANK_LETTERS or unicodedata.category(char) in _FILLERS):
            between.append(char)
        else:
            kept += between
            kept.append(char)
            between.clear()
            in_run = False
    return "".join(kept + between)
