"""Deadlines, retries, waits, permits and the budget, with teachers and a clock made for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recalign.errors import TeacherError
from recalign.llm.base import CallFailed, Completion, Question, Usage
from recalign.llm.calls import Calls, GivenUp
from recalign.llm.config import ClientConfig
from recalign.llm.ledger import Ledger

from .conftest import FakeClock

GOOD = Completion("fine", usage=Usage(10, 5))
Behaviour = Callable[[int], Awaitable[Completion]]


class Teacher:
    """Does with its n-th call (from 0) what it is told."""

    name, ledgered, max_concurrency = "openai:fake", True, None

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.calls, self.settings = behaviour, 0, {"model": "fake"}

    async def close(self) -> None: ...

    async def complete(self, question: Question) -> Completion:
        self.calls += 1
        return await self.behaviour(self.calls - 1)


def playing(*steps: Completion | Exception) -> Behaviour:
    async def play(number: int) -> Completion:
        step = steps[min(number, len(steps) - 1)]
        if isinstance(step, Exception):
            raise step
        return step

    return play


def question(prompt: str = "What?", **changes: Any) -> Question:
    return Question(**{"prompt": prompt, "max_tokens": 20, "temperature": 0.2, **changes})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def make(teacher: Teacher, ledger: Ledger, clock: FakeClock, template: str = "t", **settings: Any) -> Calls[Question]:
    return Calls(teacher, ClientConfig(**settings), ledger, template={"template": template}, clock=clock)


LIMITED = CallFailed("HTTP 429")


def test_retry_after_is_honoured_by_everybody(ledger: Ledger, clock: FakeClock) -> None:
    calls = make(Teacher(playing(CallFailed("HTTP 429", retry_after=7.0), GOOD)), ledger, clock)
    asyncio.run(calls.ask(question()))
    assert len(clock.waits) == 1
    assert 7.0 <= clock.waits[0] < 8.0, "as long as was asked for, and a little spread"
    assert calls.failed == {"HTTP 429": 1}


def test_a_wait_that_one_was_told_holds_for_the_others(ledger: Ledger, clock: FakeClock) -> None:
    sent: list[float] = []

    async def play(number: int) -> Completion:
        sent.append(clock.now())
        if number == 0:
            raise CallFailed("HTTP 429", retry_after=30.0)
        return GOOD

    calls = make(Teacher(play), ledger, clock)

    async def two() -> None:
        first = asyncio.create_task(calls.ask(question("one")))
        await asyncio.sleep(0)
        await calls.ask(question("two"))
        await first

    asyncio.run(two())
    assert sent[0] == 1000.0
    assert min(sent[1:]) >= 1030.0, "the second question, too, waits until the server wants to be asked"


def test_without_retry_after_waits_are_random_and_bounded(ledger: Ledger, clock: FakeClock) -> None:
    calls = make(Teacher(playing(LIMITED)), ledger, clock, attempts=12, longest_wait=20.0)
    with pytest.raises(GivenUp, match="HTTP 429"):
        asyncio.run(calls.ask(question()))
    bounds = [min(20.0, 2.0**attempt) for attempt in range(11)]
    assert clock.bounds == bounds, "the bound doubles with each attempt, up to the longest wait"
    assert len(clock.waits) == len(bounds)
    assert all(0 <= wait <= bound for wait, bound in zip(clock.waits, bounds, strict=True))
    assert len(set(clock.waits)) == len(bounds)
    assert calls.teacher.calls == 12  # type: ignore[attr-defined]


def test_a_server_that_wants_a_long_rest_ends_the_run(ledger: Ledger, clock: FakeClock) -> None:
    calls = make(Teacher(playing(CallFailed("HTTP 429", retry_after=3600.0))), ledger, clock, longest_wait=60.0)
    with pytest.raises(TeacherError, match=r"3600 s.*at most 60 s"):
        asyncio.run(calls.ask(question()))
    assert clock.waits == []
    assert calls.teacher.calls == 1  # type: ignore[attr-defined]


def test_the_deadline_is_that_of_the_whole_call(ledger: Ledger, clock: FakeClock) -> None:
    async def never(_: int) -> Completion:
        await asyncio.sleep(60)
        return GOOD

    calls = make(Teacher(never), ledger, clock, deadline=0.02, attempts=2)
    with pytest.raises(GivenUp, match=r"within 0\.02 s"):
        asyncio.run(calls.ask(question()))
    assert calls.counts.sent == 2
    assert calls.counts.in_flight == 0
    assert ledger.spent().completion_tokens == 40, "what was cut off may have been billed"


def test_the_second_time_the_ledger_answers(ledger: Ledger, clock: FakeClock) -> None:
    teacher = Teacher(playing(GOOD))
    first = asyncio.run(make(teacher, ledger, clock).ask(question()))
    again = asyncio.run(make(teacher, ledger, clock).ask(question()))
    assert (first.cached, again.cached) == (False, True)
    assert again.exchange == first.exchange
    assert teacher.calls == 1


def test_the_same_question_twice_at_once_is_asked_once(ledger: Ledger, clock: FakeClock) -> None:
    async def slow(number: int) -> Completion:
        await asyncio.sleep(0.01)
        return Completion(f"answer {number}")

    calls = make(Teacher(slow), ledger, clock)

    async def both() -> list[Any]:
        return await asyncio.gather(calls.ask(question()), calls.ask(question()))

    one, other = asyncio.run(both())
    assert one.exchange == other.exchange


@pytest.mark.parametrize(
    "changed",
    ["prompt", "max_tokens", "temperature", "model", "base_url", "template", "teacher"],
)
def test_whatever_changes_the_answer_changes_the_key(ledger: Ledger, clock: FakeClock, changed: str) -> None:
    teacher, template, asked = Teacher(playing(GOOD)), "t", question()
    key = make(teacher, ledger, clock).key(asked)
    if changed in ("model", "base_url"):
        teacher.settings = {**teacher.settings, changed: "another"}
    elif changed == "template":
        template = "another"
    elif changed == "teacher":
        teacher.name = "openai:another"
    else:
        asked = question(**{changed: {"prompt": "Who?", "max_tokens": 21, "temperature": 0.3}[changed]})
    assert make(teacher, ledger, clock, template).key(asked) != key


def test_how_it_is_asked_does_not_change_the_key(ledger: Ledger, clock: FakeClock) -> None:
    teacher = Teacher(playing(GOOD))
    slow = make(teacher, ledger, clock, concurrency=1, deadline=5, attempts=1, max_tokens_total=10**6)
    assert slow.key(question()) == make(teacher, ledger, clock).key(question())


def test_no_permit_is_lost_whatever_happens(ledger: Ledger, clock: FakeClock) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 400)

    async def play(number: int) -> Completion:
        await asyncio.sleep(float(rng.uniform(0, 0.002)))
        if number >= len(kinds):
            return GOOD
        if kinds[number] == 1:
            raise LIMITED
        if kinds[number] == 2:
            raise CallFailed("broken", billed=True)
        if kinds[number] == 3:
            await asyncio.sleep(5)  # into the deadline
        return GOOD

    limits = {"deadline": 0.01, "attempts": 2, "max_tokens_total": 10**7, "failures": 1000}
    calls = make(Teacher(play), ledger, clock, **limits)

    async def worker(numbers: Iterator[int]) -> None:
        for number in numbers:
            try:
                await calls.ask(question(f"{number}"))
            except GivenUp:
                continue

    async def storm() -> None:
        numbers = iter(range(200))
        await asyncio.gather(*(worker(numbers) for _ in range(8)))

    asyncio.run(storm())
    assert calls.counts.in_flight == 0
    assert calls.counts.peak <= 8
    assert calls.budget._reserved == Usage(0, 0), "no reservation is left behind"
    assert calls.budget.spent == ledger.spent(), "the budget and the ledger count alike"


def test_a_fatal_error_costs_nothing_and_leaves_nothing(ledger: Ledger, clock: FakeClock) -> None:
    calls = make(Teacher(playing(TeacherError("teacher", found="HTTP 401"))), ledger, clock)
    with pytest.raises(TeacherError, match="401"):
        asyncio.run(calls.ask(question()))
    assert (ledger.spent(), ledger.count(), calls.counts.in_flight) == (Usage(0, 0), 0, 0)


def test_where_the_run_stops_nothing_is_begun_and_nothing_paid_is_lost(ledger: Ledger, clock: FakeClock) -> None:
    async def play(number: int) -> Completion:
        await asyncio.sleep(0.05)
        return GOOD

    calls = make(Teacher(play), ledger, clock)

    async def stop_in_the_middle() -> None:
        in_flight = asyncio.create_task(calls.ask(question("in flight")))
        await asyncio.sleep(0.01)
        draining = asyncio.create_task(calls.drain())
        await asyncio.sleep(0)
        late = asyncio.create_task(calls.ask(question("too late")))
        await draining
        assert (await in_flight).exchange.completion == GOOD
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)

    asyncio.run(stop_in_the_middle())
    assert (calls.counts.sent, ledger.count(), ledger.spent()) == (1, 1, GOOD.usage)
    assert calls.budget._reserved == Usage(0, 0)


def test_an_answer_without_usage_counts_at_its_worst(ledger: Ledger, clock: FakeClock) -> None:
    asyncio.run(make(Teacher(playing(Completion("fine"))), ledger, clock).ask(question()))
    assert ledger.spent() == Usage(len("What?") + 64, 20)
