"""Cases in, answers out: three questions per case, each with the answers before it, many cases at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.errors import TeacherError
from recalign.prompting.prompts import CotFields
from recalign.prompting.template import PromptTemplate
from recalign.teacher.answers import Accepted, Rejected, read_answer
from recalign.teacher.base import Case, Question, Usage
from recalign.teacher.calls import Calls, GivenUp, Reply
from recalign.teacher.config import TeachConfig

_T = TypeVar("_T")

STAGES: Final = (1, 2, 3)
NO_ANSWER: Final = "no answer"


@dataclass(frozen=True, slots=True)
class TeachProgress:
    """Cases done of all, and tokens spent so far (by all runs on the ledger)."""

    done: int
    total: int
    spent: Usage


@dataclass(frozen=True, slots=True)
class StageRecord:
    """Where an answer comes from: for the provenance of a row."""

    stage: int
    prompt_sha256: str
    asked: str | None
    answered: str | None
    model: str | None
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case gave.

    Attributes:
        case: The case.
        fields: Everything that its rows are rendered from; complete where `reason` is empty.
        recommended: Item ids of stage 3.
        stages: One record per answer that came.
        reason: Why it is no data; empty where all three answers are valid.
        unknown: Entries that named no known item.
    """

    case: Case
    fields: CotFields
    recommended: tuple[str, ...]
    stages: tuple[StageRecord, ...]
    reason: str
    unknown: int


def run_to_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` and return its result, in a thread of its own where an event loop runs already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class Questions:
    """Renders the questions of one data set."""

    def __init__(self, catalog: ItemCatalog, domain: Domain, template: PromptTemplate, config: TeachConfig) -> None:
        """Raises ConfigError where the template has no stages in the domain's language."""
        self.catalog, self.domain, self.template, self.config = catalog, domain, template, config
        template.cot_question(domain, 1, CotFields((), ()))

    def fields(self, case: Case) -> CotFields:
        """What is known before the first answer."""
        return CotFields(
            consumed_items=tuple(self.catalog.text(entry.item_id) for entry in case.history),
            candidates=tuple(self.catalog.text(item) for item in case.candidates),
            n_recommend=min(self.config.recommend, len(case.candidates)),
            n_featured=self.config.featured,
        )

    def question(self, case: Case, stage: int, fields: CotFields) -> Question:
        """The question of a stage; `fields` has the answers before it."""
        prompt = self.template.cot_question(self.domain, stage, fields)
        return Question(case, stage, prompt, self.config.max_tokens, self.config.temperature)


class Pipeline:
    """Asks about all cases with a fixed number of workers, so never more calls are in flight than that."""

    def __init__(
        self, questions: Questions, calls: Calls, progress: Callable[[TeachProgress], None] | None = None
    ) -> None:
        self._questions, self._calls, self._progress = questions, calls, progress
        limit = calls.teacher.max_concurrency
        asked = questions.config.concurrency
        self.workers = asked if limit is None else min(asked, limit)
        self._given_up = 0

    async def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """One outcome per case, in order; neither depends on the number of workers.

        Raises:
            TeacherError: the run must stop; what was answered is in the ledger.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = iter(enumerate(cases))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.workers, len(cases))):
                    group.create_task(self._work(waiting, outcomes, len(cases)))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the others are what stopping caused
        return [outcomes[index] for index in range(len(cases))]

    async def _work(self, waiting: Iterator[tuple[int, Case]], outcomes: dict[int, Outcome], total: int) -> None:
        for index, case in waiting:
            try:
                outcomes[index] = await self._one(case)
            except TeacherError:
                await self._calls.drain()  # what is in flight is paid for and belongs into the ledger
                raise
            if self._progress:
                self._progress(TeachProgress(len(outcomes), total, self._calls.budget.spent))
            await asyncio.sleep(0)  # lets signals through where a teacher never waits

    async def _one(self, case: Case) -> Outcome:
        fields, records, unknown, places = self._questions.fields(case), list[StageRecord](), 0, tuple[int, ...]()
        for stage in STAGES:
            question = self._questions.question(case, stage, fields)
            try:
                reply, answer = await self._answered(question, fields)
            except GivenUp as failure:
                self._count_failure(failure)
                return Outcome(case, fields, (), tuple(records), f"stage {stage}: {NO_ANSWER}", unknown)
            self._given_up = 0
            records.append(_record(question, reply))
            if isinstance(answer, Rejected):
                return Outcome(case, fields, (), tuple(records), f"stage {stage}: {answer.reason}", unknown)
            fields, places, unknown = answer.fields, answer.items, unknown + answer.unknown
        recommended = tuple(case.candidates[place] for place in places)
        return Outcome(case, fields, recommended, tuple(records), "", unknown)

    async def _answered(self, question: Question, fields: CotFields) -> tuple[Reply, Accepted | Rejected]:
        """Ask, and judge. What an earlier run saw rejected stays so, unless it shall be tried again."""
        reply = await self._calls.ask(question)
        answer = read_answer(question.stage, reply.exchange.completion, fields)
        again = reply.cached and self._questions.config.retry_rejected and self._calls.ledger is not None
        if isinstance(answer, Rejected) and again and reply.key is not None and self._calls.ledger is not None:
            self._calls.ledger.forget(reply.key)
            reply = await self._calls.ask(question)
            answer = read_answer(question.stage, reply.exchange.completion, fields)
        return reply, answer

    def _count_failure(self, failure: GivenUp) -> None:
        """One question without an answer is a lost sample; many in a row are a teacher that is gone."""
        self._given_up += 1
        if self._given_up >= self._questions.config.failures:
            raise TeacherError(
                f"teacher {self._calls.teacher.name} does not answer",
                found=f"{self._given_up} questions in a row given up, the last for: {failure.reason}",
                hint="All answers are kept in the ledger: run the same command again when it does.",
            )


def _record(question: Question, reply: Reply) -> StageRecord:
    exchange = reply.exchange
    digest = hashlib.sha256(question.prompt.encode("utf-8")).hexdigest()
    completion = exchange.completion
    return StageRecord(question.stage, digest, exchange.asked, exchange.answered, completion.model, completion.usage)
