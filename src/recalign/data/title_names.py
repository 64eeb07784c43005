"""What a person may call an item: the names under which a catalogue title is found.

Pure functions on text. ``"Silence of the Lambs, The (1991)"`` is also *the silence of the lambs* and *silence of the
lambs*; ``"Seven (a.k.a. Se7en) (1995)"`` is also *seven* and *se7en*. `recalign.data.matching` uses them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_YEAR: Final = re.compile(r"\s*\((\d{4})\)\s*$")
_PARENTHESIS: Final = re.compile(r"\(([^()]*)\)")
_ALSO_KNOWN: Final = re.compile(r"^\s*a\.?k\.?a\.?[\s:]+", re.IGNORECASE)
_MOVED_ARTICLE: Final = re.compile(r"^(?P<rest>.+),\s+(?P<article>[^\W\d_]+['’]?)\s*$")
_APOSTROPHES: Final = dict.fromkeys(map(ord, "'’‘`´ʼ"))
# Letters that NFKD does not take apart.
_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "&": " and "}
)
# Articles that catalogues move to the end, after a comma ("Boot, Das").
_ENGLISH_AND_ROMANCE: Final = "the a an le la les l' l’ un une el los las lo il i gli uno una o os as um uma"
_GERMANIC: Final = "der die das den ein eine det de en het"
_ARTICLES: Final = frozenset(f"{_ENGLISH_AND_ROMANCE} {_GERMANIC}".split())
# Articles that a person may leave out at the front. "Die Hard" and "Lo" begin with words that only look like one.
_OPTIONAL_ARTICLES: Final = frozenset({"the", "a", "an", "le", "la", "les", "el", "los", "il", "der", "das"})
_ROMAN: Final = re.compile(r"^[ivx]+$")


def split_year(title: str) -> tuple[str, int | None]:
    """Split ``"Heat (1995)"`` into ``("Heat", 1995)``; the year is None where the title does not end in one."""
    year = _YEAR.search(title)
    if year is None or not title[: year.start()].strip():
        return title, None
    return title[: year.start()], int(year.group(1))


def normalise(text: str) -> str:
    """Fold case, diacritics, compatibility forms and punctuation; words are separated by one space.

    Text without a letter or digit (``"???"``) becomes the empty string, which callers must not compare.
    """
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_APOSTROPHES).translate(_LETTERS)
    folded = unicodedata.normalize("NFKD", folded)
    kept = "".join(
        char if char.isalnum() or unicodedata.category(char).startswith("M") else " "
        for char in folded
        if not unicodedata.combining(char)
    )
    return " ".join(kept.split())


def front_article(title: str) -> str:
    """Move an article after the last comma to the front: ``"Boot, Das"`` becomes ``"Das Boot"``."""
    match = _MOVED_ARTICLE.match(title)
    if match is None or match["article"].casefold() not in _ARTICLES:
        return title
    space = "" if match["article"][-1] in "'’" else " "
    return f"{match['article']}{space}{match['rest']}"


def without_article(name: str) -> str:
    """Drop the leading article of a normalised name that has further words."""
    first, _, rest = name.partition(" ")
    return rest if rest and first in _OPTIONAL_ARTICLES else name


def main_name(base: str) -> str:
    """Normalised name of a title without its year."""
    return normalise(front_article(base))


def other_names(base: str) -> list[str]:
    """Normalised further names of a title without its year: what stands outside its parentheses, and inside each."""
    inside = [_ALSO_KNOWN.sub("", text) for text in _PARENTHESIS.findall(base)]
    if not inside:
        return []
    outside = " ".join(_PARENTHESIS.sub(" ", base).split())
    names = [main_name(text) for text in (outside, *inside)]
    return [name for name in dict.fromkeys(names) if name]


def numerals(name: str) -> tuple[str, ...]:
    """Words of a normalised name that are numbers, Arabic or Roman: *rocky ii* is no misspelling of *rocky iii*."""
    return tuple(word for word in name.split() if any(c.isdigit() for c in word) or _ROMAN.match(word))


def allowed_typos(name: str) -> int:
    """How many edits a normalised name of this length may be away and still be the same one."""
    return 0 if len(name) < 4 else 1 if len(name) < 8 else 2 if len(name) < 15 else 3
