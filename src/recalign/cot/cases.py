"""What a teacher of chain-of-thought data is asked: three questions about a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, runtime_checkable

from recalign.data.samples import HistoryEntry
from recalign.llm.base import Question, Teacher

STEPS: Final = (1, 2, 3)  # preferences, featured items, recommendations


@dataclass(frozen=True, slots=True)
class Case:
    """What a teacher may know of a sample: everything but its truth.

    Attributes:
        sample_id: Of the sample.
        user_id: Whose sample it is; the heuristic teacher leaves all that this user did out of its statistics.
        history: Oldest first.
        candidates: Item ids of the candidate set, in the order of the prompt.
    """

    sample_id: str
    user_id: str
    history: tuple[HistoryEntry, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CotQuestion(Question):
    """A question with what it is about, for teachers that do not read prompts.

    Attributes:
        case: Whom and which items it is about.
        step: 1, 2 or 3.
    """

    case: Case
    step: int


CotTeacher: TypeAlias = Teacher[CotQuestion]


@runtime_checkable
class Preparing(Protocol):
    """A teacher that wants to see all cases before the first question."""

    def prepare(self, cases: Sequence[Case]) -> None:
        """Called once with all cases."""
        ...
