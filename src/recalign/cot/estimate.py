"""What a run will take, before it begins: the estimate, and one full example of each prompt. Calls nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from recalign.cot.answers import Accepted, read_answer
from recalign.cot.cases import STEPS, Case, Source, make_source
from recalign.cot.config import TeachConfig
from recalign.cot.teachers.heuristic import HeuristicTeacher
from recalign.data.samples import SampleSet
from recalign.llm.asking import run_to_end
from recalign.llm.base import Usage
from recalign.llm.budget import CallsEstimate, cost, expected_tokens, worst_case
from recalign.prompting.prompts import CotFields

_PROBES: Final = 50  # cases whose prompts are measured
_SUMMARY: Final = "The user seems to enjoy items of two or three kinds, and cares less for others. " * 3


def estimate(source: Source) -> CallsEstimate:
    """Measure the prompts of some cases, with answers of usual length in them, and scale up."""
    cases, config = source.cases, source.config
    probes = cases[:: max(1, len(cases) // _PROBES)]
    asked, answered, at_most = 0, 0, 0
    for case in probes:
        bare = source.fields(case)
        filled = _typical_answers(bare)
        for step in STEPS:
            asked += expected_tokens(source.question(case, step, filled).prompt)
            answered += expected_tokens(source.template.cot(source.domain, step, filled).output)
            prompt = source.question(case, step, bare).prompt
            # The prompt holds the answers to the steps before, too.
            at_most += worst_case(prompt, config.max_tokens).prompt_tokens + (step - 1) * config.max_tokens
    calls = len(STEPS) * len(cases)
    scale = len(cases) / max(1, len(probes))
    expected = Usage(round(asked * scale), round(min(answered * scale, calls * config.max_tokens)))
    most = Usage(round(at_most * scale), calls * config.max_tokens)
    return CallsEstimate(len(cases), calls, expected, most, cost(expected, config), cost(most, config))


def _typical_answers(fields: CotFields) -> CotFields:
    """`fields` with stand-ins of usual length for all answers."""
    featured = tuple(fields.consumed_items[: fields.n_featured])
    partner = featured[0] if featured else ""
    pairs = tuple((partner, candidate) for candidate in fields.candidates[: fields.n_recommend])
    return replace(fields, preferences=_SUMMARY.strip(), featured=featured, pairs=pairs)


def preview(samples: SampleSet, config: TeachConfig) -> list[str]:
    """What a dry run shows, line by line. The answers in the prompts are the heuristic teacher's.

    Raises:
        ConfigError, DataError, TeacherError: See `make_source` and `example_prompts`.
    """
    source = make_source(samples, config)
    text = [f"teacher: {config.teacher} (not called)", *estimate(source).lines()]
    for step, prompt in zip(STEPS, example_prompts(source.cases[0], source), strict=True):
        note = "" if step == 1 else "; the answers in it are the heuristic teacher's"
        text += ["", f"--- prompt of step {step}{note} ---", prompt]
    return "\n".join(text).split("\n")


def example_prompts(case: Case, source: Source) -> list[str]:
    """The three prompts of a case, with the heuristic teacher's answers in the second and third.

    Raises:
        ConfigError: The heuristic teacher has no words in the domain's language.
    """
    teacher, fields, prompts = HeuristicTeacher(source.samples, source.config), source.fields(case), []
    for step in STEPS:
        question = source.question(case, step, fields)
        prompts.append(question.prompt)
        answer = read_answer(step, run_to_end(teacher.complete(question)), fields)
        assert isinstance(answer, Accepted), f"the heuristic teacher's answer was rejected: {answer}"
        fields = answer.fields
    return prompts
