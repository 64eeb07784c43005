"""Takes the pieces of a rendered prompt apart again. Titles contain quotes and commas, so a list has several readings.

A *reading* is a guess; whoever asks for one renders it again and keeps it only if the same string comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import ValidationError

from recalign.data.domain import Domain
from recalign.errors import DataError

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
