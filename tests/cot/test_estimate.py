"""What is said before the first call."""

from __future__ import annotations

import pytest

from recalign.cot.cases import Source, make_source
from recalign.cot.config import TeachConfig
from recalign.cot.estimate import estimate, example_prompts
from recalign.data.samples import SampleSet


def test_the_estimate_is_near_what_prompts_have(source: Source) -> None:
    forecast = estimate(source)
    assert (forecast.samples, forecast.calls) == (len(source.cases), 3 * len(source.cases))
    prompts = [example_prompts(case, source) for case in source.cases[:5]]
    mean = sum(len(text) for three in prompts for text in three) / 5 / 4
    assert forecast.expected.prompt_tokens == pytest.approx(mean * len(source.cases), rel=0.2)
    assert forecast.at_most.prompt_tokens > forecast.expected.prompt_tokens
    assert forecast.at_most.completion_tokens == 3 * len(source.cases) * 512
    assert forecast.expected_cost is None


def test_prices_make_a_cost(movies: SampleSet) -> None:
    forecast = estimate(make_source(movies, TeachConfig(price_in=10.0, price_out=30.0)))
    assert forecast.expected_cost is not None
    assert forecast.cost_at_most is not None
    assert 0 < forecast.expected_cost < forecast.cost_at_most


def test_one_full_example_of_each_prompt(source: Source) -> None:
    first, second, third = example_prompts(source.cases[0], source)
    assert "Stage 2:" not in first
    assert "<Answer 1>: The user seems" in second
    assert "<Answer 2>: 1. " in third
