"""The plain records that templates take and give: text only, no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recalign.data.published import Instruction, ParsedSample
from recalign.data.schema import HistoryText

__all__ = ["CotFields", "HistoryText", "Instruction", "ParsedSample", "Prompt"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model sees and what it must say; the two are tokenised together.

    With `chat`, `context` is a user message that the encoder puts into the tokenizer's chat template.
    """

    context: str
    answer: str
    chat: bool = False


@dataclass(frozen=True, slots=True)
class CotFields:
    """What chain-of-thought steps are rendered from; step n needs the answers of the steps before it.

    Attributes:
        consumed_items, candidates: Texts of what the user watched, read, ... and of the candidate set.
        preferences: Answer 1, plain text.
        featured: Answer 2: items in descending order.
        pairs: Answer 3: (item of the history, recommended candidate).
        n_recommend: How many recommendations are asked for.
        n_featured: How many featured items at most are asked for (0 or more).
    """

    consumed_items: Sequence[str]
    candidates: Sequence[str]
    preferences: str = ""
    featured: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()
    n_recommend: int = 10
    n_featured: int = 5
