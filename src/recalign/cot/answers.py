"""From a completion to an answer that may become data, or to the reason why it may not."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from recalign.llm.base import Completion
from recalign.llm.reading import off_schema, refuses, unusable, without_thoughts
from recalign.prompting.parsing import read_items, read_pairs
from recalign.prompting.prompts import CotFields
from recalign.prompting.titles import clean_title

_LABEL: Final = re.compile(r"\s*(?:<[^<>\n]{1,20}\d>|(?:Answer|Antwort)\s?\d)\s*:\s*", re.IGNORECASE)
_WORDS: Final = 3  # fewer are no summary of anyone's preferences


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer in place.

    Attributes:
        fields: With the answer of this step filled in.
        items: Step 2: places of the featured items in `CotFields.consumed_items`. Step 3: places of the recommended
            ones in `CotFields.candidates`. Step 1: nothing.
        unknown: Entries of the answer that named no item it may name; they were left out.
    """

    fields: CotFields
    items: tuple[int, ...] = ()
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer that must not become data, and why: one of the reasons in `recalign.llm.reading`."""

    reason: str


def read_answer(step: int, completion: Completion, fields: CotFields) -> Accepted | Rejected:
    """Judge the answer of `step` (1-3) to a question rendered from `fields`. A pure function.

    Step 1 must say something. Step 2 must name at least one consumed item; the first `n_featured` count. Step 3 must
    name at least half as many pairs as were asked for; the first `n_recommend` count. Entries that name nothing known
    are left out and counted.
    """
    if reason := unusable(completion):
        return Rejected(reason)
    text = without_thoughts(completion.text)
    accepted = (_preferences, _featured, _pairs)[step - 1](text, fields)
    return Rejected(off_schema(text)) if accepted is None else accepted


def _preferences(text: str, fields: CotFields) -> Accepted | None:
    label = _LABEL.match(text)
    body = clean_title(text[label.end() :] if label else text).strip()
    if refuses(body) or len(body.split()) < _WORDS:
        return None
    return Accepted(replace(fields, preferences=body))


def _featured(text: str, fields: CotFields) -> Accepted | None:
    reading = read_items(text, fields.consumed_items)
    places = reading.items[: fields.n_featured]
    if not places:
        return None
    featured = tuple(fields.consumed_items[place] for place in places)
    return Accepted(replace(fields, featured=featured), places, reading.unknown)


def _pairs(text: str, fields: CotFields) -> Accepted | None:
    reading = read_pairs(text, fields.consumed_items, fields.candidates)
    pairs = reading.pairs[: fields.n_recommend]
    if 2 * len(pairs) < min(fields.n_recommend, len(fields.candidates)) or not pairs:
        return None
    named = [(fields.consumed_items[watched], fields.candidates[candidate]) for watched, candidate in pairs]
    return Accepted(replace(fields, pairs=tuple(named)), tuple(candidate for _, candidate in pairs), reading.unknown)
