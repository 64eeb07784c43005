"""A case in, answers out: three questions, each with the answers before it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace

from recalign.cot.answers import Accepted, read_answer
from recalign.cot.cases import STEPS, Case, CotQuestion, Source
from recalign.llm.calls import Calls, GivenUp, Reply
from recalign.llm.reading import NO_ANSWER
from recalign.prompting.prompts import CotFields


@dataclass(frozen=True, slots=True)
class CaseAnswers:
    """What a case gave.

    Attributes:
        case: The case.
        fields: Everything that its rows are rendered from; complete where `reason` is empty.
        recommended: Item ids of step 3.
        steps: Where each answer that came comes from, as ``provenance.jsonl`` holds it.
        reason: Why it is no data, as ``dropped.jsonl`` holds it ("stage 1: refusal"); empty where all three answers
            are valid.
        unknown: Entries that named no known item.
    """

    case: Case
    fields: CotFields
    recommended: tuple[str, ...] = ()
    steps: tuple[dict[str, object], ...] = ()
    reason: str = ""
    unknown: int = 0


async def answer_case(case: Case, source: Source, calls: Calls[CotQuestion]) -> CaseAnswers:
    """The answers to a case. Raises TeacherError where all must stop."""
    answers, items = CaseAnswers(case, source.fields(case)), tuple[int, ...]()
    for step in STEPS:
        question = source.question(case, step, answers.fields)
        try:
            reply, answer = await _answered(question, answers.fields, source, calls)
        except GivenUp:
            return replace(answers, reason=f"stage {step}: {NO_ANSWER}")
        answers = replace(answers, steps=(*answers.steps, _provenance(question, reply)))
        if isinstance(answer, str):
            return replace(answers, reason=f"stage {step}: {answer}")
        answers, items = replace(answers, fields=answer.fields, unknown=answers.unknown + answer.unknown), answer.items
    return replace(answers, recommended=tuple(case.candidates[place] for place in items))


async def _answered(
    question: CotQuestion, fields: CotFields, source: Source, calls: Calls[CotQuestion]
) -> tuple[Reply, Accepted | str]:
    """Ask, and judge. An answer that an earlier run saw rejected stays rejected, unless it is to be tried again."""
    reply = await calls.ask(question)
    answer = read_answer(question.step, reply.exchange.completion, fields)
    if isinstance(answer, str) and reply.cached and source.config.retry_rejected:
        calls.forget(question)
        reply = await calls.ask(question)
        answer = read_answer(question.step, reply.exchange.completion, fields)
    return reply, answer


def _provenance(question: CotQuestion, reply: Reply) -> dict[str, object]:
    """Where an answer comes from. In the file a step is called a stage."""
    exchange, completion = reply.exchange, reply.exchange.completion
    return {
        "stage": question.step,
        "prompt_sha256": hashlib.sha256(question.prompt.encode("utf-8")).hexdigest(),
        "asked": exchange.asked,
        "answered": exchange.answered,
        "model": completion.model,
        "usage": asdict(completion.usage) if completion.usage else None,
    }
