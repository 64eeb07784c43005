"""Cases in, answers out: three questions per case, each with the answers before it, many cases at a time."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from recalign.cot.answers import Accepted, Rejected, read_answer
from recalign.cot.cases import STEPS, Case, CotQuestion
from recalign.cot.config import TeachConfig
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.llm.asking import Asking
from recalign.llm.base import Usage
from recalign.llm.calls import GivenUp, Reply
from recalign.llm.reading import NO_ANSWER
from recalign.prompting.prompts import CotFields
from recalign.prompting.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class StepRecord:
    """Where an answer comes from: for the provenance of a row."""

    step: int
    prompt_sha256: str
    asked: str | None
    answered: str | None
    model: str | None
    usage: Usage | None

    def as_json(self) -> dict[str, object]:
        """As ``provenance.jsonl`` holds it, where a step is called a stage."""
        fields = asdict(self)
        return {"stage": fields.pop("step"), **fields}


@dataclass(frozen=True, slots=True)
class CaseAnswers:
    """What a case gave.

    Attributes:
        case: The case.
        fields: Everything that its rows are rendered from; complete where `reason` is empty.
        recommended: Item ids of step 3.
        steps: One record per answer that came.
        reason: Why it is no data, as ``dropped.jsonl`` holds it ("stage 1: refusal"); empty where all three answers
            are valid.
        unknown: Entries that named no known item.
    """

    case: Case
    fields: CotFields
    recommended: tuple[str, ...]
    steps: tuple[StepRecord, ...]
    reason: str
    unknown: int


class Questions:
    """Renders the questions of one data set."""

    def __init__(self, catalog: ItemCatalog, domain: Domain, template: PromptTemplate, config: TeachConfig) -> None:
        """Raises ConfigError where the template has no chain-of-thought steps in the domain's language."""
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

    def question(self, case: Case, step: int, fields: CotFields) -> CotQuestion:
        """The question of a step; `fields` has the answers before it."""
        prompt = self.template.cot_question(self.domain, step, fields)
        return CotQuestion(prompt, self.config.max_tokens, self.config.temperature, case=case, step=step)


class Pipeline:
    """Takes cases through the three steps."""

    def __init__(self, questions: Questions, asking: Asking[CotQuestion]) -> None:
        self._questions, self._asking = questions, asking

    async def answers(self, case: Case) -> CaseAnswers:
        """The answers to a case. Raises TeacherError where all must stop."""
        fields, records, unknown, places = self._questions.fields(case), list[StepRecord](), 0, tuple[int, ...]()
        for step in STEPS:
            question = self._questions.question(case, step, fields)
            try:
                reply, answer = await self._answered(question, fields)
            except GivenUp:
                return CaseAnswers(case, fields, (), tuple(records), f"stage {step}: {NO_ANSWER}", unknown)
            records.append(_record(question, reply))
            if isinstance(answer, Rejected):
                return CaseAnswers(case, fields, (), tuple(records), f"stage {step}: {answer.reason}", unknown)
            fields, places, unknown = answer.fields, answer.items, unknown + answer.unknown
        recommended = tuple(case.candidates[place] for place in places)
        return CaseAnswers(case, fields, recommended, tuple(records), "", unknown)

    async def _answered(self, question: CotQuestion, fields: CotFields) -> tuple[Reply, Accepted | Rejected]:
        """Ask, and judge. An answer that an earlier run saw rejected stays rejected, unless it is to be tried again."""
        reply = await self._asking.ask(question)
        answer = read_answer(question.step, reply.exchange.completion, fields)
        if isinstance(answer, Rejected) and reply.cached and self._questions.config.retry_rejected:
            self._asking.calls.forget(question)
            reply = await self._asking.ask(question)
            answer = read_answer(question.step, reply.exchange.completion, fields)
        return reply, answer


def _record(question: CotQuestion, reply: Reply) -> StepRecord:
    exchange = reply.exchange
    digest = hashlib.sha256(question.prompt.encode("utf-8")).hexdigest()
    completion = exchange.completion
    return StepRecord(question.step, digest, exchange.asked, exchange.answered, completion.model, completion.usage)
