"""A case in, answers out: three questions, each with the answers before it; what of them may become data."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from typing import Final

from recalign.cot.cases import STEPS, Case, CotQuestion, Source
from recalign.llm.base import Completion
from recalign.llm.calls import Calls, GivenUp, Reply
from recalign.llm.reading import NO_ANSWER, off_schema, refuses, unusable, without_thoughts
from recalign.prompting.parsing import read_items, read_pairs
from recalign.prompting.prompts import CotFields
from recalign.prompting.titles import clean_title

_LABEL: Final = re.compile(r"\s*(?:<[^<>\n]{1,20}\d>|(?:Answer|Antwort)\s?\d)\s*:\s*", re.IGNORECASE)
_WORDS: Final = 3  # fewer are no summary of anyone's preferences


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer in place.

    Attributes:
        fields: With the answer of this step filled in.
        items: Step 2: places of the featured items in `CotFields.consumed_items`. Step 3: places of the recommended
            ones in `CotFields.candidates`.
        unknown: Entries of the answer that named no item it may name; they were left out.
    """

    fields: CotFields
    items: tuple[int, ...] = ()
    unknown: int = 0


def read_answer(step: int, completion: Completion, fields: CotFields) -> Accepted | str:
    """Judge the answer of `step` (1-3) to a question rendered from `fields`.

    Step 1 must say something. Step 2 must name at least one consumed item; the first `n_featured` count. Step 3 must
    name at least half as many pairs as were asked for; the first `n_recommend` count. Of an answer that must not become
    data the reason is returned, one of those in `recalign.llm.reading`.
    """
    if reason := unusable(completion):
        return reason
    text = without_thoughts(completion.text)
    return (_preferences, _featured, _pairs)[step - 1](text, fields) or off_schema(text)


def _preferences(text: str, fields: CotFields) -> Accepted | None:
    label = _LABEL.match(text)
    body = clean_title(text[label.end() :] if label else text).strip()
    if refuses(body) or len(body.split()) < _WORDS:
        return None
    return Accepted(replace(fields, preferences=body))


def _featured(text: str, fields: CotFields) -> Accepted | None:
    reading = read_items(text, fields.consumed_items)
    places = reading.items[: fields.n_featured]
    if not places:
        return None
    featured = tuple(fields.consumed_items[place] for place in places)
    return Accepted(replace(fields, featured=featured), places, reading.unknown)


def _pairs(text: str, fields: CotFields) -> Accepted | None:
    reading = read_pairs(text, fields.consumed_items, fields.candidates)
    pairs = reading.pairs[: fields.n_recommend]
    if 2 * len(pairs) < min(fields.n_recommend, len(fields.candidates)) or not pairs:
        return None
    named = [(fields.consumed_items[watched], fields.candidates[candidate]) for watched, candidate in pairs]
    return Accepted(replace(fields, pairs=tuple(named)), tuple(candidate for _, candidate in pairs), reading.unknown)


@dataclass(frozen=True, slots=True)
class CaseAnswers:
    """What a case gave.

    Attributes:
        fields: Everything that its rows are rendered from; complete where `reason` is empty.
        recommended: Item ids of step 3.
        steps: Where each answer that came comes from, as ``provenance.jsonl`` holds it.
        reason: Why it is no data, as ``dropped.jsonl`` holds it ("stage 1: refusal"); empty where all are valid.
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
