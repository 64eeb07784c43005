"""Takes text apart: the pieces of a rendered prompt, and the lists that a teacher (or a tuned model) writes.

Titles contain quotes and commas, so a list in a prompt has several *readings*: whoever asks for one renders it again
and keeps it only if the same string comes out.

The grammar of what is written (items, or pairs "watched - candidate") is tolerant: numbers, bullets, quotes of any
kind, several entries on one line, introductions. What it may name is not: an entry counts only if it *is* the text of a
known item, exactly once cleaned, or else without regard to case, spaces and kinds of quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from pydantic import ValidationError

from recalign.data.domain import Domain
from recalign.errors import DataError
from recalign.prompting.titles import clean_title

_AUTHORED: Final = re.compile(r'".*" written by .*')
_FRAGMENT: Final = re.compile(r', (?=")')


def list_readings(text: str) -> Iterator[list[str]]:
    """Readings of ``"A", "B"`` or ``"A" written by X, "B" written by Y`` as item texts, the likeliest first."""
    if not text:
        yield []
        return
    authored = _authored(text)
    if authored is not None:
        yield authored
    if len(text) >= 2 and text[0] == text[-1] == '"':
        yield text[1:-1].split('", "')
        yield [text]  # one text that brings its own quotes


def target_readings(text: str) -> Iterator[str]:
    """Readings of what stands where the target is: with the spaces that a quirk removed, without quotes, as it is."""
    if '"written by' in text:
        yield text.replace('"written by', '" written by ')
    if len(text) >= 2 and text[0] == text[-1] == '"':
        yield text[1:-1]
    yield text


def parsed_domain(found: Mapping[str, str | None]) -> Domain:
    """The domain with the words that a prompt names. Raises DataError where they cannot be used."""
    words = {key: found[key] for key in ("verb", "noun", "yes", "no") if found.get(key)}
    try:
        return Domain.model_validate(words)
    except ValidationError as error:
        raise DataError(
            "the words of the prompt", found=str(words), expected="a verb, a noun and two answers"
        ) from error


def _authored(text: str) -> list[str] | None:
    """Split at ``, "`` wherever both sides are complete entries; None if the text does not start with such an entry.

    The split is greedy from the left, so it is the same every time, and joining the parts gives the text back.
    """
    entries: list[str] = []
    current = ""
    for fragment in _FRAGMENT.split(text):
        if current and _AUTHORED.fullmatch(current):
            entries.append(current)
            current = fragment
        else:
            current = f"{current}, {fragment}" if current else fragment
    if _AUTHORED.fullmatch(current):
        return [*entries, current]
    # What is left has no author of its own, so it is the end of the last author's name.
    return [*entries[:-1], f"{entries[-1]}, {current}"] if entries else None


_T = TypeVar("_T")

# "<Answer 2>:" and its likes, in front of the first entry.
_LABEL: Final = re.compile(r"\s*(?:<[^<>\n]{1,20}\d>|(?:Answer|Antwort)\s?\d)\s*:\s*", re.IGNORECASE)
_NUMBER: Final = re.compile(r"(?:no\.?\s*|nr\.?\s*)?(\d{1,3})\s*[.):]\s*", re.IGNORECASE)
_BULLET: Final = re.compile(r"[-*•–]\s+")
# Between the two items of a pair. Titles contain " - " too, so every place is tried.
_BETWEEN: Final = re.compile(r"\s+[-–—]+>?\s+|\s*(?:→|⇒|->|=>)\s*")
_QUOTES: Final = "\"“”„‟«»‹›'‘’‚`´"
_QUOTE_SIGNS: Final = re.compile(f"[{_QUOTES}]")


@dataclass(frozen=True, slots=True)
class ItemReading:
    """What a list of items says.

    Attributes:
        items: Places (from 0) in the sequence of known texts, in the order of the answer, each once.
        unknown: Entries that name no known item.
    """

    items: tuple[int, ...]
    unknown: int


@dataclass(frozen=True, slots=True)
class PairReading:
    """What a list of pairs says.

    Attributes:
        pairs: (place among the consumed items, place among the candidates); each candidate once, with its first
            partner.
        unknown: Entries that are no pair of a known consumed item and a known candidate.
    """

    pairs: tuple[tuple[int, int], ...]
    unknown: int


def read_items(answer: str, known: Sequence[str]) -> ItemReading:
    """Read a list of items, such as ``1. "A", 2. "B"`` or one item per line.

    Args:
        answer: What was written.
        known: Item texts, as they stood in the prompt. Repeated texts are given out in turn.
    """
    names = _Names(known)
    found = list(_entries(answer, names.find))
    places = [names.take(entry) for entry in found if entry]
    return ItemReading(tuple(place for place in places if place is not None), found.count(()))


def read_pairs(answer: str, consumed: Sequence[str], candidates: Sequence[str]) -> PairReading:
    """Read a list of pairs, such as ``1. "A" - "B", 2. "A" - "C"`` or one pair per line.

    Args:
        answer: What was written.
        consumed, candidates: Item texts as in `read_items`.
    """
    left, right = _Names(consumed), _Names(candidates)

    def find(text: str) -> tuple[tuple[int, ...], tuple[int, ...]] | tuple[()]:
        for sign in _BETWEEN.finditer(text):
            item = left.find(text[: sign.start()])
            candidate = right.find(text[sign.end() :]) if item else ()
            if item and candidate:
                return item, candidate
        return ()

    found = list(_entries(answer, find))
    pairs = [(entry[0][0], right.take(entry[1])) for entry in found if entry]
    return PairReading(tuple((item, place) for item, place in pairs if place is not None), found.count(()))


class _Names:
    """Known texts, found by what is written; repeated texts are given out in turn."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._exact: dict[str, list[int]] = {}
        self._loose: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            self._exact.setdefault(_exact(text), []).append(place)
            self._loose.setdefault(_loose(text), []).append(place)
        self._texts = [_exact(text) for text in texts]
        self._taken: set[int] = set()

    def find(self, written: str) -> tuple[int, ...]:
        """Places of the one text that is meant; nothing where none or several different ones are."""
        forms = _forms(written)
        for form in forms:
            if form in self._exact:
                return tuple(self._exact[form])
        for form in forms:
            places = self._loose.get(_loose(form), [])
            if places and len({self._texts[place] for place in places}) == 1:
                return tuple(places)
        return ()

    def take(self, places: Sequence[int]) -> int | None:
        """The first of `places` that was not taken before; None where all were."""
        free = next((place for place in places if place not in self._taken), None)
        if free is not None:
            self._taken.add(free)
        return free


@lru_cache(maxsize=1 << 16)
def _exact(text: str) -> str:
    return clean_title(text).strip()


@lru_cache(maxsize=1 << 16)
def _loose(text: str) -> str:
    return " ".join(_QUOTE_SIGNS.sub("", clean_title(text)).casefold().split())


def _forms(written: str) -> list[str]:
    """The text as written, without closing marks or emphasis, and without the quotes around it."""
    text = _exact(written)
    bare = text.strip("*_ ").rstrip(",; ")
    forms = [text, bare, bare.rstrip(".")]
    forms += [form[1:-1].strip() for form in forms if len(form) > 2 and form[0] in _QUOTES and form[-1] in _QUOTES]
    return [form for form in dict.fromkeys(forms) if form]


def _entries(answer: str, find: Callable[[str], _T]) -> Iterator[_T]:
    """What `find` makes of each entry; it gives something empty where an entry is not known."""
    label = _LABEL.match(answer)
    for line in (answer[label.end() :] if label else answer).splitlines():
        text = line.strip().strip("*").strip()
        if not text:
            continue
        whole = find(text)  # before anything is cut off: "12 Angry Men" and "2. Sunset Street" are titles
        number, bullet = _NUMBER.match(text), _BULLET.match(text)
        if whole:
            yield whole
        elif number:
            yield from _series(text[number.end() :], int(number[1]), find)
        elif bullet:
            yield find(text[bullet.end() :])
        elif text[0] in _QUOTES:
            yield from _quoted(text, find)
        # What is left is an introduction or a remark.


def _series(text: str, number: int, find: Callable[[str], _T]) -> Iterator[_T]:
    """Entries that follow each other on one line, each with the next number: ``A, 2. B, 3. C``."""
    while True:
        whole = find(text)
        ends = [] if whole else list(re.finditer(rf"[,;]?\s+{number + 1}\s*[.):]\s*", text))
        if not ends:
            yield whole
            return
        readings = ((find(text[: end.start()]), end) for end in ends)
        entry, end = next((reading for reading in readings if reading[0]), (whole, ends[0]))
        yield entry
        text, number = text[end.end() :], number + 1


def _quoted(text: str, find: Callable[[str], _T]) -> Iterator[_T]:
    """Entries without numbers on one line: ``"A", "B"``."""
    return map(find, re.split(r'(?<=["”»]),\s+(?=["“„«])', text))
