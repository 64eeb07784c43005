"""What a teacher is (`Teacher`): a question in, a completion out, or one of the ways in which a call can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from recalign.errors import TeacherError


@dataclass(frozen=True, slots=True)
class Question:
    """One call: a message, the longest answer in tokens, and the temperature of sampling (0: greedy).

    `top_logprobs` alternatives at each place of the answer are asked for with their log probabilities; 0: none. A
    teacher may leave them out.
    """

    prompt: str
    max_tokens: int
    temperature: float
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a call was billed for."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total(self) -> int:
        """Of prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, more: Usage) -> Usage:
        return Usage(self.prompt_tokens + more.prompt_tokens, self.completion_tokens + more.completion_tokens)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A token of an answer, the natural logarithm of its probability, and the likeliest tokens at its place (`top`).

    Mostly the token itself is among these. `logprob` is at or below `UNTOLD` where the endpoint does not tell it.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


UNTOLD: Final = -9999.0  # what the API says of a token that is too unlikely to be listed


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back; None stands for what was not said.

    Finish reasons are as OpenAI names them: ``stop``, ``length``, ``content_filter``, ... A `refusal` is text that came
    in a field of its own. `logprobs` has one entry per token, in order.
    """

    text: str
    finish_reason: str | None = "stop"
    usage: Usage | None = None
    refusal: str | None = None
    model: str | None = None
    logprobs: tuple[TokenLogprobs, ...] | None = None


Asked = TypeVar("Asked", bound=Question, contravariant=True)


@runtime_checkable
class Teacher(Protocol[Asked]):
    """Whatever answers questions of one kind. A language model answers every kind: it needs the prompt only."""

    @property
    def name(self) -> str:
        """As on the command line: ``openai:MODEL``, ``hf:PATH``, ``heuristic``."""

    @property
    def settings(self) -> Mapping[str, object]:
        """All that answers depend on besides prompt, temperature and length. It is JSON, and never holds a secret."""

    @property
    def ledgered(self) -> bool:
        """Whether answers cost something, so that they are kept in a ledger and count towards a budget."""

    @property
    def max_concurrency(self) -> int | None:
        """Most questions at a time; None: no limit of its own."""

    async def complete(self, question: Asked) -> Completion:
        """Answer one question.

        Raises:
            CallFailed: This attempt failed; another one may do better.
            LogprobsRefused: It is not asked like this; without `Question.top_logprobs` it may answer.
            TeacherError: No attempt will do better (a wrong key, a wrong request, no quota left).
        """

    async def close(self) -> None:
        """Called once, after the last question."""


LanguageModel: TypeAlias = Teacher[Question]


class LogprobsRefused(TeacherError):
    """The endpoint refuses requests for log probabilities. Nothing was answered or billed."""


class CallFailed(Exception):
    """One attempt failed, and another one may not.

    The reason is for people, and contains no secret. `retry_after`: seconds that the server asked to wait. `billed`:
    whether it may have answered (and counted tokens) all the same.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, billed: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.retry_after, self.billed = reason, retry_after, billed
