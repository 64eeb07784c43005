"""Hit rates with intervals, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recalign.cot.config import TeachConfig
from recalign.cot.statistics import MISS, TeacherOutcome, TeachStatistics, clustered_rate, count_outcomes
from recalign.llm.calls import Calls, Clock


def test_wilson_by_hand_where_each_user_has_one_sample() -> None:
    rate = clustered_rate([True] * 8 + [False] * 2, [str(number) for number in range(10)])
    assert rate is not None
    # scipy.stats.binomtest(8, 10).proportion_ci(method="wilson") is [0.4902, 0.9433]; the design effect is 10/9.
    n, z, p = 9.0, 1.959964, 0.8
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (rate.value, rate.users) == (0.8, 10)
    assert (rate.low, rate.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_samples_of_one_user_count_less() -> None:
    hits = [True, True, False, False] * 25
    alone = clustered_rate(hits, [str(number) for number in range(100)])
    of_users = clustered_rate([True] * 50 + [False] * 50, [str(number // 10) for number in range(100)])
    assert alone is not None
    assert of_users is not None
    assert of_users.high - of_users.low > 2.5 * (alone.high - alone.low), "ten users who always or never hit are ten"


def test_samples_of_one_user_never_count_more() -> None:
    balanced = clustered_rate([True, False] * 10, [str(number // 2) for number in range(20)])
    assert balanced is not None
    # scipy.stats.binomtest(10, 20).proportion_ci(method="wilson"): users of one hit and one miss each vary too little.
    assert (balanced.low, balanced.high) == pytest.approx((0.2992980081982124, 0.7007019918017876))


def test_edges() -> None:
    assert clustered_rate([], []) is None
    sure = clustered_rate([True] * 5, ["a"] * 5)
    assert sure is not None
    assert sure.high == 1.0
    assert 0.5 < sure.low < 0.6


def outcomes(count: int, hit: bool | None, reason: str = "", size: int = 19) -> list[TeacherOutcome]:
    return [TeacherOutcome(f"u{number}", size, hit, reason) for number in range(count)]


def count(rows: list[TeacherOutcome]) -> TeachStatistics:
    teacher: Any = SimpleNamespace(name="nobody", settings={})
    nothing = Calls(teacher, TeachConfig(), None, template={}, clock=Clock())
    return count_outcomes(rows, considered=1000, recommend=10, calls=nothing)


def test_counts_add_up() -> None:
    counted = count(outcomes(90, True) + outcomes(30, False, MISS) + outcomes(5, None, "stage 1: refusal"))
    assert (counted.considered, counted.truth_not_in_set, counted.asked) == (1000, 875, 125)
    assert (counted.valid, counted.hits, counted.kept) == (120, 90, 90)
    assert counted.dropped == {MISS: 30, "stage 1: refusal": 5}
    assert counted.kept + sum(counted.dropped.values()) == counted.asked
    assert counted.hit_rate == 0.75
    assert counted.chance == pytest.approx(10 / 19)
    assert counted.above_chance
    assert "chance 0.5263: above chance" in "\n".join(counted.lines())


def test_chance_is_that_of_the_sets_at_hand() -> None:
    counted = count(outcomes(10, True, size=20) + outcomes(10, True, size=8))
    assert counted.chance == pytest.approx((0.5 + 1.0) / 2)


def test_a_random_teacher_is_not_above_chance() -> None:
    rng = np.random.default_rng(0)
    rows = [TeacherOutcome(f"u{number % 50}", 19, bool(rng.random() < 10 / 19), "") for number in range(500)]
    counted = count(rows)
    assert not counted.above_chance
    assert "NOT above chance" in "\n".join(counted.lines())


def test_an_interval_that_holds_chance_is_not_above_it() -> None:
    counted = count(outcomes(12, True) + outcomes(8, False, MISS))
    assert counted.hit_low is not None
    assert counted.hit_high is not None
    assert counted.chance is not None
    assert counted.hit_low < counted.chance < counted.hit_high
    assert not counted.above_chance


def test_without_valid_answers_there_is_no_rate() -> None:
    counted = count(outcomes(5, None, "stage 1: empty"))
    assert (counted.hit_rate, counted.chance, counted.above_chance) == (None, None, False)
