"""What is said before the first call."""

from __future__ import annotations

import pytest

from recalign.cot.config import TeachConfig
from recalign.cot.preview import example_prompts
from recalign.cot.source import Source, make_source
from recalign.data.samples import SampleSet


def test_the_estimate_is_near_what_prompts_have(movies: SampleSet, source: Source) -> None:
    estimate = source.estimate()
    assert (estimate.samples, estimate.calls) == (len(source.cases), 3 * len(source.cases))
    prompts = [example_prompts(case, source.questions, movies) for case in source.cases[:5]]
    mean = sum(len(text) for three in prompts for text in three) / 5 / 4
    assert estimate.expected.prompt_tokens == pytest.approx(mean * len(source.cases), rel=0.2)
    assert estimate.at_most.prompt_tokens > estimate.expected.prompt_tokens
    assert estimate.at_most.completion_tokens == 3 * len(source.cases) * 512
    assert estimate.expected_cost is None


def test_prices_make_a_cost(movies: SampleSet) -> None:
    estimate = make_source(movies, TeachConfig(price_in=10.0, price_out=30.0)).estimate()
    assert estimate.expected_cost is not None
    assert estimate.cost_at_most is not None
    assert 0 < estimate.expected_cost < estimate.cost_at_most


def test_one_full_example_of_each_prompt(movies: SampleSet, source: Source) -> None:
    first, second, third = example_prompts(source.cases[0], source.questions, movies)
    assert "Stage 2:" not in first
    assert "<Answer 1>: The user seems" in second
    assert "<Answer 2>: 1. " in third
