"""From a completion to an answer that may become data, or to the reason why it may not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from recalign.prompting.cot_parsing import read_items, read_pairs
from recalign.prompting.prompts import CotFields
from recalign.prompting.titles import clean_title
from recalign.teacher.base import Completion

LENGTH: Final = "cut at the length limit"
REFUSAL: Final = "refusal"
EMPTY: Final = "empty"
OFF_SCHEMA: Final = "off-schema"
REASONS: Final = (LENGTH, REFUSAL, EMPTY, OFF_SCHEMA)

_FINISHED: Final = frozenset({None, "stop", "eos", "eos_token", "end_turn"})
_REFUSED: Final = re.compile(
    r"(?:i['’]?m|i am) (?:sorry|afraid|unable)|sorry,|i (?:can ?not|can['’]t|won['’]t|am not able)|as an ai\b"
    r"|(?:es )?tut mir leid|leider kann ich|ich kann (?:das|dies|dir|ihnen)? ?(?:leider )?nicht",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(r"\s*(?:<[^<>\n]{1,20}\d>|(?:Answer|Antwort)\s?\d)\s*:\s*", re.IGNORECASE)
# What reasoning models think aloud before they answer.
_THOUGHT: Final = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>\s*", re.DOTALL | re.IGNORECASE)
_WORDS: Final = 3  # fewer are no summary of anyone's preferences


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer in place.

    Attributes:
        fields: With the answer of this stage filled in.
        items: Stage 2: places of the featured items in `CotFields.consumed_items`. Stage 3: places of the recommended
            ones in `CotFields.candidates`. Stage 1: nothing.
        unknown: Entries of the answer that named no item it may name; they were left out.
    """

    fields: CotFields
    items: tuple[int, ...] = ()
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer that must not become data, and why (one of `REASONS`)."""

    reason: str


def read_answer(stage: int, completion: Completion, fields: CotFields) -> Accepted | Rejected:
    """Judge the answer of `stage` (1-3) to a question rendered from `fields`. A pure function.

    Stage 1 must say something. Stage 2 must name at least one consumed item; the first `n_featured` count. Stage 3 must
    name at least half as many pairs as were asked for; the first `n_recommend` count. Entries that name nothing known
    are left out and counted.
    """
    if completion.refusal or completion.finish_reason == "content_filter":
        return Rejected(REFUSAL)
    if completion.finish_reason == "length":
        return Rejected(LENGTH)
    if completion.finish_reason not in _FINISHED and completion.text.strip():
        return Rejected(OFF_SCHEMA)
    text = _THOUGHT.sub("", completion.text, count=1) if _THOUGHT.match(completion.text) else completion.text
    if not text.strip():
        return Rejected(EMPTY)
    read = (_preferences, _featured, _pairs)[stage - 1](text, fields)
    if read is None:
        return Rejected(REFUSAL if _REFUSED.match(text.strip()) else OFF_SCHEMA)
    return read


def _preferences(text: str, fields: CotFields) -> Accepted | None:
    label = _LABEL.match(text)
    body = clean_title(text[label.end() :] if label else text).strip()
    if _REFUSED.match(body) or len(body.split()) < _WORDS:
        return None
    return Accepted(replace(fields, preferences=body))


def _featured(text: str, fields: CotFields) -> Accepted | None:
    reading = read_items(text, fields.consumed_items)
    places = reading.items[: fields.n_featured]
    if not places:
        return None
    return Accepted(replace(fields, featured=_texts(fields.consumed_items, places)), places, reading.unknown)


def _pairs(text: str, fields: CotFields) -> Accepted | None:
    reading = read_pairs(text, fields.consumed_items, fields.candidates)
    pairs = reading.pairs[: fields.n_recommend]
    if 2 * len(pairs) < min(fields.n_recommend, len(fields.candidates)) or not pairs:
        return None
    named = [(fields.consumed_items[one], fields.candidates[other]) for one, other in pairs]
    return Accepted(replace(fields, pairs=tuple(named)), tuple(other for _, other in pairs), reading.unknown)


def _texts(texts: Sequence[str], places: Sequence[int]) -> tuple[str, ...]:
    return tuple(texts[place] for place in places)
