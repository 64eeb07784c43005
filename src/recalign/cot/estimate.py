"""What a run will take, before it begins. Calls nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from recalign.cot.cases import STEPS, Case
from recalign.cot.pipeline import Questions
from recalign.llm.base import Usage
from recalign.llm.budget import CallsEstimate, cost, expected_tokens, worst_case
from recalign.prompting.prompts import CotFields

_PROBES: Final = 50  # cases whose prompts are measured
_SUMMARY: Final = "The user seems to enjoy items of two or three kinds, and cares less for others. " * 3


def estimate(cases: Sequence[Case], questions: Questions) -> CallsEstimate:
    """Measure the prompts of some cases, with answers of usual length in them, and scale up."""
    config = questions.config
    probes = cases[:: max(1, len(cases) // _PROBES)]
    asked, answered, at_most = 0, 0, 0
    for case in probes:
        bare = questions.fields(case)
        filled = typical_answers(bare)
        for step in STEPS:
            asked += expected_tokens(questions.question(case, step, filled).prompt)
            answered += expected_tokens(questions.template.cot(questions.domain, step, filled).output)
            prompt = questions.question(case, step, bare).prompt
            # The prompt holds the answers to the steps before, too.
            at_most += worst_case(prompt, config.max_tokens).prompt_tokens + (step - 1) * config.max_tokens
    calls = len(STEPS) * len(cases)
    scale = len(cases) / max(1, len(probes))
    expected = Usage(round(asked * scale), round(min(answered * scale, calls * config.max_tokens)))
    most = Usage(round(at_most * scale), calls * config.max_tokens)
    return CallsEstimate(len(cases), calls, expected, most, cost(expected, config), cost(most, config))


def typical_answers(fields: CotFields) -> CotFields:
    """`fields` with stand-ins of usual length for all answers."""
    featured = tuple(fields.consumed_items[: fields.n_featured])
    partner = featured[0] if featured else ""
    pairs = tuple((partner, candidate) for candidate in fields.candidates[: fields.n_recommend])
    return replace(fields, preferences=_SUMMARY.strip(), featured=featured, pairs=pairs)
