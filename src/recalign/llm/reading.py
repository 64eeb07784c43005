"""What can be said of any answer, whatever was asked: thoughts are taken off, refusals and broken answers are named."""

from __future__ import annotations

import re
from typing import Final

from recalign.llm.base import Completion

# Why an answer cannot be used.
NO_ANSWER: Final = "no answer"
LENGTH: Final = "cut at the length limit"
REFUSAL: Final = "refusal"
EMPTY: Final = "empty"
OFF_SCHEMA: Final = "off-schema"

_FINISHED: Final = frozenset({None, "stop", "eos", "eos_token", "end_turn"})
_REFUSED: Final = re.compile(
    r"(?:i['’]?m|i am) (?:sorry|afraid|unable)|sorry,|i (?:can ?not|can['’]t|won['’]t|am not able)|as an ai\b"
    r"|(?:es )?tut mir leid|leider kann ich|ich kann (?:das|dies|dir|ihnen)? ?(?:leider )?nicht",
    re.IGNORECASE,
)
# Thoughts before an answer. Servers often show the closing tag alone, and the harmony format has channels instead.
_THOUGHT_END: Final = re.compile(r"</think(?:ing)?>|<\|channel\|>\s*final\b[^<]*<\|message\|>", re.IGNORECASE)
_THOUGHT_START: Final = re.compile(r"\s*(?:<think(?:ing)?>|<\|channel\|>)", re.IGNORECASE)
_ANSWER_END: Final = re.compile(r"\s*<\|(?:return|end)\|>\s*\Z")


def answer_start(text: str) -> int:
    """Where the answer begins: after the last thought that ends; at the end of the text where a thought never ends."""
    ends = [end.end() for end in _THOUGHT_END.finditer(text)]
    if ends:
        return ends[-1]
    return len(text) if _THOUGHT_START.match(text) else 0


def without_thoughts(text: str) -> str:
    """The answer alone: without the thoughts before it, and without the mark of its end that some servers show."""
    start = answer_start(text)
    return _ANSWER_END.sub("", text[start:].lstrip() if start else text)


def is_refused(completion: Completion) -> bool:
    """Whether the endpoint marks the answer as a refusal, whatever its text is."""
    return bool(completion.refusal) or completion.finish_reason == "content_filter"


def unusable(completion: Completion) -> str:
    """Why the answer cannot be used whatever its text says; "" where its text is to be read."""
    if is_refused(completion):
        return REFUSAL
    if completion.finish_reason == "length":
        return LENGTH
    if completion.finish_reason not in _FINISHED and completion.text.strip():
        return OFF_SCHEMA
    return "" if without_thoughts(completion.text).strip() else EMPTY


def off_schema(text: str) -> str:
    """What to call a text that is not the answer that was asked for: a refusal in words, or off-schema."""
    return REFUSAL if refuses(without_thoughts(text)) else OFF_SCHEMA


def refuses(text: str) -> bool:
    """Whether the text begins as refusals in English and German do."""
    return bool(_REFUSED.match(text.strip()))
