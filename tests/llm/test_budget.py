"""Estimates, and a budget that holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.errors import TeacherError
from recalign.llm.base import Usage
from recalign.llm.budget import Budget, CallsEstimate, cost, worst_case
from recalign.llm.config import ClientConfig

PRICED = {"price_in": 10.0, "price_out": 30.0}


def budget(spent: Usage = Usage(0, 0), **settings: Any) -> Budget:
    return Budget(ClientConfig(**settings), spent)


def test_cost_by_hand() -> None:
    assert cost(Usage(1_000_000, 500_000), ClientConfig(**PRICED)) == pytest.approx(25.0)
    assert cost(Usage(1, 1), ClientConfig()) is None


def test_it_stops_before_the_call_that_could_overrun() -> None:
    held = budget(max_tokens_total=100)
    asyncio.run(held.reserve(Usage(60, 40)))
    held.settle(Usage(60, 40), Usage(50, 10))
    with pytest.raises(TeacherError, match=r"60 tokens spent.*may take 41.*at most 100"):
        asyncio.run(held.reserve(Usage(21, 20)))
    asyncio.run(held.reserve(Usage(20, 20)))


def test_money_counts_like_tokens() -> None:
    held = budget(max_cost=0.001, **PRICED)
    asyncio.run(held.reserve(Usage(40, 20)))
    held.settle(Usage(40, 20), Usage(40, 20))
    with pytest.raises(TeacherError, match=r"a cost of at most 0\.001"):
        asyncio.run(held.reserve(Usage(1, 0)))


def test_what_the_ledger_says_is_spent_already() -> None:
    with pytest.raises(TeacherError, match="90 tokens spent"):
        asyncio.run(budget(Usage(80, 10), max_tokens_total=100).reserve(Usage(6, 5)))


def test_a_call_waits_for_one_that_may_leave_enough() -> None:
    held, order = budget(max_tokens_total=100), list[str]()

    async def second() -> None:
        await held.reserve(Usage(50, 0))
        order.append("second may go")

    async def both() -> None:
        await held.reserve(Usage(80, 0))
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.001)
        order.append("first is back")
        held.settle(Usage(80, 0), Usage(30, 0))
        await waiting

    asyncio.run(both())
    assert order == ["first is back", "second may go"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), max_size=30), st.integers(1, 200))
def test_never_overspent(calls: list[tuple[int, float]], limit: int) -> None:
    held = budget(max_tokens_total=limit)

    async def play() -> None:
        for worst, share in calls:
            await held.reserve(Usage(worst, 0))
            held.settle(Usage(worst, 0), Usage(int(worst * share), 0))

    try:
        asyncio.run(play())
    except TeacherError:
        assert sum(worst for worst, _ in calls) > limit
    assert held.spent.total <= limit


def test_the_worst_case_is_a_token_per_byte() -> None:
    assert worst_case("Amélie", 7).prompt_tokens >= len("Amélie".encode())
    assert worst_case("Amélie", 7).completion_tokens == 7


def test_an_estimate_says_money_only_where_there_are_prices() -> None:
    plain = CallsEstimate(2, 6, Usage(10, 5), Usage(100, 50), None, None)
    assert len(plain.lines()) == 3
    assert "cost: about 1.00, at most 2.50" in CallsEstimate(2, 6, Usage(10, 5), Usage(100, 50), 1.0, 2.5).lines()
