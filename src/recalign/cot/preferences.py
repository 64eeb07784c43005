"""What a history says of its user's taste, in sentences: the heuristic teacher's answer to step 1.

Counted are genres, authors, decades and words of titles; what a catalogue lacks is left out, so titles alone will do.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Final

from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.samples import HistoryEntry
from recalign.data.title_names import split_year
from recalign.errors import ConfigError

_GENRES, _AUTHORS = 3, 2  # most that a sentence names
_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_ODD: Final = re.compile(r"\W*no genres? listed\W*|unknown|", re.IGNORECASE)  # what catalogues write for "none"


class PreferenceWriter:
    """Writes preferences in the language of a domain."""

    def __init__(self, catalog: ItemCatalog, domain: Domain) -> None:
        """Read what the catalogue says. Raises ConfigError without sentences in the domain's language."""
        self._wording = _wordings(domain.primary_language)
        self._words = {"noun": domain.noun, "noun_plural": domain.noun_plural, "consumed": domain.consumed}
        columns = (catalog.frame[name].to_list() for name in ("item_id", "title", "year", "author", "genres"))
        self._facts = {
            item: (_genres(genres), (author or "").strip(), _decade(title, year), _title_words(title))
            for item, title, year, author, genres in zip(*columns, strict=True)
        }

    def write(self, history: Sequence[HistoryEntry]) -> str:
        """One to four sentences about who has this history; the same for the same history."""
        liked = [self._facts[entry.item_id] for entry in history if entry.liked]
        disliked = [self._facts[entry.item_id] for entry in history if not entry.liked]
        genres = [[fact[0] for fact in facts] for facts in (liked, disliked)]
        authors = [[(fact[1],) for fact in facts] for facts in (liked, disliked)]
        sentences = [
            self._say("genres", _favourites(*genres, most=_GENRES)),
            self._say("authors", _favourites(*authors, most=_AUTHORS)),
            self._say("decade", _most([fact[2] for fact in liked])),
            self._say("words", _repeated([fact[3] for fact in liked])[:_AUTHORS]),
            self._say("avoided", _avoided(genres[1], genres[0])),
        ]
        said = [sentence for sentence in sentences if sentence]
        return " ".join(said) if said else self._wording["anything"].format_map(self._words)

    def _say(self, what: str, values: Sequence[str]) -> str:
        if not values:
            return ""
        *first, last = values
        listed = f"{', '.join(first)} {self._wording['and']} {last}" if first else last
        return self._wording[what].format_map({**self._words, "values": listed})


@cache
def _wordings(language: str) -> Mapping[str, str]:
    file = resources.files("recalign.cot").joinpath("wordings", f"{language}.toml")
    if not file.is_file():
        expected = "one that the heuristic teacher writes: de or en"
        raise ConfigError(f"language {language!r} of the domain", expected=expected, hint="Use another teacher.")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _genres(names: Sequence[str | None] | None) -> tuple[str, ...]:
    return tuple(name for name in names or () if name and not _ODD.fullmatch(name))


def _decade(title: str | None, year: int | None) -> str:
    known = year or (split_year(title)[1] if title else None)
    return f"{known // 10 * 10}s" if known else ""


def _title_words(title: str | None) -> tuple[str, ...]:
    """Longer words of a title, as they are written there, without its year."""
    return tuple(dict.fromkeys(_WORD.findall(split_year(title)[0]))) if title else ()


def _favourites(shown: Iterable[Sequence[str]], disliked: Iterable[Sequence[str]], *, most: int) -> list[str]:
    """Values that stand for more of the shown than of the disliked items; the most frequent first, then by name."""
    count = Counter(value for values in shown for value in values if value)
    against = Counter(value for values in disliked for value in values if value)
    ranked = sorted(count, key=lambda value: (-count[value], against[value], value))
    return [value for value in ranked if count[value] >= against[value]][:most]


def _avoided(disliked: Iterable[Sequence[str]], liked: Iterable[Sequence[str]]) -> list[str]:
    """Values of at least two disliked items and of no liked one."""
    count = Counter(value for values in disliked for value in values)
    known = {value for values in liked for value in values}
    return [value for value, times in sorted(count.items()) if times > 1 and value not in known][:_AUTHORS]


def _most(values: Sequence[str]) -> list[str]:
    """The value that at least half of the items have, and two of them."""
    count = Counter(value for value in values if value)
    return [value for value, times in count.most_common(1) if times > 1 and 2 * times >= len(values)]


def _repeated(values: Iterable[Sequence[str]]) -> list[str]:
    """Words that occur in at least two titles, the most frequent first, in quotes."""
    count = Counter(word for words in values for word in words)
    ranked = sorted(count, key=lambda word: (-count[word], word))
    return [f'"{word}"' for word in ranked if count[word] > 1]
