"""The worker pool: results in order, no more calls than workers, and an end where the teacher is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recalign.errors import TeacherError
from recalign.llm.asking import work_through
from recalign.llm.base import CallFailed, Completion, Question
from recalign.llm.calls import Calls, GivenUp
from recalign.llm.config import ClientConfig
from recalign.llm.ledger import Ledger

from .conftest import FakeClock


class Echo:
    """Answers with the prompt, the later the longer it is; prompts in `silent` are not answered."""

    name, ledgered, settings = "openai:echo", True, {"model": "echo"}

    def __init__(self, silent: frozenset[str] = frozenset(), max_concurrency: int | None = None) -> None:
        self.silent, self.max_concurrency, self.closed = silent, max_concurrency, 0

    async def complete(self, question: Question) -> Completion:
        await asyncio.sleep(0.001 * len(question.prompt))
        if question.prompt in self.silent:
            raise CallFailed("HTTP 500")
        return Completion(question.prompt)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def ask_all(teacher: Echo, ledger: Ledger, clock: FakeClock, prompts: list[str], **settings: Any) -> list[str]:
    calls = Calls(teacher, ClientConfig(attempts=1, **settings), ledger, template={}, clock=clock)
    told: list[tuple[int, int, str]] = []

    async def work(prompt: str) -> str:
        try:
            return (await calls.ask(Question(prompt, 9, 0.0))).exchange.completion.text
        except GivenUp as failure:
            return failure.reason

    answers = work_through(prompts, work, calls, lambda *report: told.append(report))
    assert [(done, total) for done, total, _ in told] == [(done, len(prompts)) for done in range(1, len(prompts) + 1)]
    assert told[-1][2].endswith(" tokens")
    assert calls.counts.peak <= calls.concurrency
    return answers


@pytest.mark.parametrize(("concurrency", "limit"), [(1, None), (3, None), (8, 2)])
def test_results_come_in_order_and_the_teacher_is_closed(
    ledger: Ledger, clock: FakeClock, concurrency: int, limit: int | None
) -> None:
    prompts, teacher = ["long " * 5, "a", "bb", "ccc", "d"], Echo(max_concurrency=limit)
    assert ask_all(teacher, ledger, clock, prompts, concurrency=concurrency) == prompts
    assert teacher.closed == 1


def test_one_question_without_an_answer_is_one_item(ledger: Ledger, clock: FakeClock) -> None:
    answers = ask_all(Echo(frozenset("bd")), ledger, clock, list("abcde"), concurrency=1, failures=2)
    assert answers == ["a", "HTTP 500", "c", "HTTP 500", "e"], "never two in a row"


def test_many_in_a_row_are_a_teacher_that_is_gone(ledger: Ledger, clock: FakeClock) -> None:
    teacher = Echo(frozenset("bcd"))
    gone = r"openai:echo does not answer; found 3 questions in a row given up, the last for: HTTP 500.*same command"
    with pytest.raises(TeacherError, match=gone):
        ask_all(teacher, ledger, clock, list("abcde"), concurrency=1, failures=3)
    assert teacher.closed == 1
    assert ledger.count() == 1, "what was answered is kept, and nothing more was asked"


def test_an_answer_from_the_ledger_does_not_show_that_the_teacher_is_there(ledger: Ledger, clock: FakeClock) -> None:
    ask_all(Echo(), ledger, clock, list("bd"), concurrency=1)
    with pytest.raises(TeacherError, match="3 questions in a row"):
        ask_all(Echo(frozenset("ace")), ledger, clock, list("abcde"), concurrency=1, failures=3)


def test_inside_a_running_event_loop(tmp_path: Path, clock: FakeClock) -> None:
    async def notebook() -> list[str]:
        with Ledger(tmp_path / "ledger") as ledger:
            return ask_all(Echo(), ledger, clock, ["a"])

    assert asyncio.run(notebook()) == ["a"]
