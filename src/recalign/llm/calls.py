"""The way to a teacher: the ledger first, then the budget, then calls with a deadline, retries and waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from recalign.artifacts import fingerprint
from recalign.errors import TeacherError
from recalign.llm.base import CallFailed, Completion, Question, Teacher, Usage
from recalign.llm.budget import Budget, worst_case
from recalign.llm.config import ClientConfig
from recalign.llm.ledger import Exchange, Ledger
from recalign.seeding import generator

QuestionT = TypeVar("QuestionT", bound=Question)

_KEY_FORMAT: Final = 1
_FIRST_WAIT: Final = 1.0  # seconds; the bound of the random wait doubles with each attempt
_DRAIN: Final = 30.0  # seconds that calls in flight have to end, where the run must stop
_SPREAD: Final = 1.0  # seconds over which callers resume after a common wait, so that they do not come all at once


class Clock:
    """The machine's time, and chance. Tests replace its methods, so that they need not wait for either."""

    def __init__(self, seed: int = 0) -> None:
        """Two processes wait differently long: the numbers drawn also depend on the process. No result does."""
        self._random = generator(seed, "teacher", "jitter", os.getpid())

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def stamp(self) -> str:
        """The time of day: UTC, ISO 8601, seconds."""
        return datetime.now(UTC).isoformat(timespec="seconds")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def uniform(self, high: float) -> float:
        """A random number in [0, high)."""
        return float(self._random.uniform(0.0, high)) if high > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An exchange, and whether it was in the ledger already."""

    exchange: Exchange
    cached: bool


class GivenUp(Exception):
    """No attempt brought an answer; `reason` is that of the last one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class CallCounts:
    """Calls sent, answers taken from the ledger, and calls in flight: now, and at most so far."""

    sent: int = 0
    cached: int = 0
    in_flight: int = 0
    peak: int = 0


class Calls(Generic[QuestionT]):
    """Asks a teacher; every way out of a call gives back what it had taken."""

    def __init__(
        self,
        teacher: Teacher[QuestionT],
        config: ClientConfig,
        ledger: Ledger | None,
        *,
        template: Mapping[str, object],
        clock: Clock,
    ) -> None:
        """`template` says with which wording questions are made; it counts in the ledger's keys."""
        self.teacher, self.config, self.ledger, self.clock = teacher, config, ledger, clock
        self.counts = CallCounts()
        self.failed: Counter[str] = Counter()
        self.budget = Budget(config, ledger.spent() if ledger else Usage(0, 0))
        self._fixed = {"format": _KEY_FORMAT, "teacher": teacher.name, "settings": teacher.settings, **template}
        self._given_up, self._not_before = 0, 0.0
        self._locks: dict[str, asyncio.Lock] = {}
        self._stopped, self._idle = False, asyncio.Event()

    @property
    def concurrency(self) -> int:
        """Most questions at a time: what the configuration says, or less where the teacher cannot do so many."""
        return min(self.config.concurrency, self.teacher.max_concurrency or self.config.concurrency)

    def key(self, question: QuestionT) -> str:
        """Content key of a question: prompt, teacher, its settings, parameters, template."""
        asked = {"prompt": question.prompt, "max_tokens": question.max_tokens, "temperature": question.temperature}
        # Named only where asked for, so that keys without log probabilities are what they were in older ledgers.
        extra = {"top_logprobs": question.top_logprobs} if question.top_logprobs else {}
        return fingerprint({**self._fixed, **asked, **extra})

    def stored(self, question: QuestionT) -> bool:
        """Whether the ledger has an answer to this question."""
        return self.ledger is not None and self.ledger.get(self.key(question)) is not None

    def forget(self, question: QuestionT) -> None:
        """Remove the answer to this question from the ledger, so that it is asked again."""
        if self.ledger is not None:
            self.ledger.forget(self.key(question))

    async def ask(self, question: QuestionT) -> Reply:
        """Answer a question, from the ledger if it is there.

        Raises:
            GivenUp: No attempt brought an answer. That loses one item.
            LogprobsRefused: The teacher is to be asked without log probabilities.
            TeacherError: The run must stop: the budget is used up, the teacher cannot be asked at all, it wants to be
                left alone for longer than `ClientConfig.longest_wait`, or as many questions in a row were given up as
                `ClientConfig.failures` says.
        """
        try:
            reply = await self._answer(question)
        except GivenUp as failure:
            self._given_up += 1
            if self._given_up < self.config.failures:
                raise
            found = f"{self._given_up} questions in a row given up, the last for: {failure.reason}"
            hint = "All answers are kept in the ledger: run the same command again when it does."
            raise TeacherError(f"teacher {self.teacher.name} does not answer", found=found, hint=hint) from None
        if not reply.cached:  # an answer from the ledger does not show that the teacher is still there
            self._given_up = 0
        return reply

    async def _answer(self, question: QuestionT) -> Reply:
        if self.ledger is None:  # what costs nothing and needs no network has no deadline and no second attempt
            try:
                completion = await self.teacher.complete(question)
            except CallFailed as failure:
                raise GivenUp(failure.reason) from None
            self.counts.sent += 1
            return Reply(Exchange(completion), cached=False)
        key = self.key(question)
        async with self._locks.setdefault(key, asyncio.Lock()):  # the same question twice at once has one answer
            stored = self.ledger.get(key)
            if stored is not None:
                self.counts.cached += 1
                return Reply(stored, cached=True)
            return Reply(await self._persist(question, key, self.ledger), cached=False)

    async def drain(self) -> None:
        """Start no call any more, and wait for those in flight, which are paid for. Others wait to be cancelled."""
        self._stopped = True
        try:
            async with asyncio.timeout(_DRAIN):
                while self.counts.in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    async def _persist(self, question: QuestionT, key: str, ledger: Ledger) -> Exchange:
        for attempt in range(self.config.attempts):
            try:
                return await self._attempt(question, key, ledger)
            except CallFailed as failure:
                self.failed[failure.reason] += 1
                if attempt + 1 == self.config.attempts:
                    raise GivenUp(failure.reason) from None
                await self._pause(attempt, failure)
        raise AssertionError("attempts is at least 1")

    async def _attempt(self, question: QuestionT, key: str, ledger: Ledger) -> Exchange:
        worst = worst_case(question.prompt, question.max_tokens)
        # Where the server wants to be left alone, all callers wait.
        while (left := self._not_before - self.clock.now()) > 0:
            await self.clock.sleep(left + self.clock.uniform(_SPREAD))
        await self.budget.reserve(worst)
        spent = Usage(0, 0)
        try:
            if self._stopped:
                await asyncio.Event().wait()
            number = ledger.begin(worst)
            asked = self.clock.stamp()
            spent = worst  # until more is known: a call that is cut short may be billed
            try:
                completion = await self._timed(question)
            except (CallFailed, TeacherError) as failure:
                if isinstance(failure, TeacherError) or not failure.billed:
                    ledger.cancel(number)
                    spent = Usage(0, 0)
                raise
            spent = completion.usage or worst
            exchange = Exchange(completion, asked, self.clock.stamp())
            ledger.finish(number, key, exchange, spent)
        finally:
            self.budget.settle(worst, spent)
        return exchange

    async def _timed(self, question: QuestionT) -> Completion:
        """One call, cut off at the deadline however slowly its bytes drip in."""
        counts = self.counts
        counts.sent += 1
        counts.in_flight += 1
        counts.peak = max(counts.peak, counts.in_flight)
        try:
            async with asyncio.timeout(self.config.deadline):
                return await self.teacher.complete(question)
        except TimeoutError:
            raise CallFailed(f"no complete answer within {self.config.deadline:g} s", billed=True) from None
        finally:
            counts.in_flight -= 1
            self._idle.set()

    async def _pause(self, attempt: int, failure: CallFailed) -> None:
        """Wait as long as the server asked for, else a random time below a bound that doubles (full jitter)."""
        if failure.retry_after is not None:
            if failure.retry_after > self.config.longest_wait:
                found = f"{failure.reason}, to be asked again in {failure.retry_after:.0f} s"
                expected = f"at most {self.config.longest_wait:g} s"
                hint = "All answers are kept in the ledger: run the same command again then."
                raise TeacherError(f"teacher {self.teacher.name}", found=found, expected=expected, hint=hint)
            self._not_before = max(self._not_before, self.clock.now() + failure.retry_after)
            return
        await self.clock.sleep(self.clock.uniform(min(self.config.longest_wait, _FIRST_WAIT * 2**attempt)))
