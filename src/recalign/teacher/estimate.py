"""What a run will take, before it begins: the estimate, and one full example of each prompt. Calls nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from recalign.data.samples import SampleSet
from recalign.prompting.prompts import CotFields
from recalign.teacher.answers import Accepted, read_answer
from recalign.teacher.base import Case, Usage
from recalign.teacher.budget import Estimate, cost, expected_tokens, worst_case
from recalign.teacher.pipeline import STAGES, Questions, run_to_end

_PROBES: Final = 50  # cases whose prompts are measured
_SUMMARY: Final = "The user seems to enjoy items of two or three kinds, and cares less for others. " * 3


def estimate(cases: Sequence[Case], questions: Questions) -> Estimate:
    """Measure the prompts of some cases, with answers of usual length in them, and scale up."""
    config = questions.config
    probes = cases[:: max(1, len(cases) // _PROBES)]
    asked, answered, at_most = 0, 0, 0
    for case in probes:
        bare = questions.fields(case)
        filled = typical_answers(bare)
        for stage in STAGES:
            asked += expected_tokens(questions.question(case, stage, filled).prompt)
            answered += expected_tokens(questions.template.cot(questions.domain, stage, filled).output)
            prompt = questions.question(case, stage, bare).prompt
            # The answers before stand in the prompt, too.
            at_most += worst_case(prompt, config.max_tokens).prompt_tokens + (stage - 1) * config.max_tokens
    calls = len(STAGES) * len(cases)
    scale = len(cases) / max(1, len(probes))
    expected = Usage(round(asked * scale), round(min(answered * scale, calls * config.max_tokens)))
    most = Usage(round(at_most * scale), calls * config.max_tokens)
    return Estimate(len(cases), calls, expected, most, cost(expected, config), cost(most, config))


def typical_answers(fields: CotFields) -> CotFields:
    """`fields` with stand-ins of usual length for all answers."""
    featured = tuple(fields.consumed_items[: fields.n_featured])
    partner = featured[0] if featured else ""
    pairs = tuple((partner, candidate) for candidate in fields.candidates[: fields.n_recommend])
    return replace(fields, preferences=_SUMMARY.strip(), featured=featured, pairs=pairs)


def example_prompts(case: Case, questions: Questions, samples: SampleSet) -> list[str]:
    """The three prompts of a case, with the heuristic teacher's answers in the second and third.

    Raises:
        ConfigError: the heuristic teacher has no words in the domain's language.
    """
    from recalign.teacher.heuristic import HeuristicTeacher

    teacher, fields, prompts = HeuristicTeacher(samples, questions.config), questions.fields(case), []
    for stage in STAGES:
        question = questions.question(case, stage, fields)
        prompts.append(question.prompt)
        answer = read_answer(stage, run_to_end(teacher.complete(question)), fields)
        if not isinstance(answer, Accepted):
            raise AssertionError(f"the heuristic teacher's answer was rejected: {answer.reason}")
        fields = answer.fields
    return prompts
