from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.samples import CandidateList
from recalign.serving.queue import PART, Batch, DeadlinePassed, Overloaded, Unavailable, WorkQueue

from .fakes import Clock


def asking(*sizes: int, start: int = 0) -> list[CandidateList]:
    """Lists of these sizes; their items are numbers, from `start` on."""
    ends = np.cumsum([start, *sizes])
    return [CandidateList("u", (), tuple(map(str, range(first, last)))) for first, last in pairwise(ends)]


def numbers(batch: Batch) -> list[np.ndarray]:
    """The score of an item is its number."""
    return [np.array([float(item) for item in asked.item_ids]) for asked in batch.lists]


def serve(queue: WorkQueue) -> list[Batch]:
    """Score all that is queued."""
    batches = []
    while queue.cost:
        batch = queue.take()
        assert batch is not None
        queue.deliver(batch, numbers(batch), seconds=1.0)
        batches.append(batch)
    return batches


def make(capacity: int = 1000, batch: int = 300, clock: Clock | None = None) -> WorkQueue:
    return WorkQueue(capacity=capacity, batch=batch, clock=clock or Clock())


def items_of(batch: Batch | None) -> Sequence[int]:
    assert batch is not None
    return [len(asked.item_ids) for asked in batch.lists]


def test_what_is_queued_is_one_batch() -> None:
    queue = make()
    jobs = [queue.put("m", asking(1, start=n), 9.0) for n in range(5)]
    (batch,) = serve(queue)
    assert [job for job, _ in batch.parts] == jobs
    assert [float(job.result.result()[0][0]) for job in jobs] == [0.0, 1.0, 2.0, 3.0, 4.0]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 3 * PART), min_size=1, max_size=3), min_size=1, max_size=6), st.data())
def test_every_job_gets_its_own_scores_whatever_the_batches(jobs: list[list[int]], data: st.DataObject) -> None:
    queue = make(capacity=10**6, batch=data.draw(st.integers(1, 3 * PART)))
    models = data.draw(st.lists(st.sampled_from("ab"), min_size=len(jobs), max_size=len(jobs)))
    asked = [asking(*sizes, start=1000 * place) for place, sizes in enumerate(jobs)]
    results = [queue.put(model, lists, 9.0).result for model, lists in zip(models, asked, strict=True)]
    assert queue.cost == sum(map(sum, jobs))
    batches = serve(queue)
    for lists, result in zip(asked, results, strict=True):
        found = [[f"{value:.0f}" for value in values] for values in result.result()]
        assert found == [list(each.item_ids) for each in lists]
    for batch in batches:
        assert {job.model for job, _ in batch.parts} == {batch.model}
        assert batch.cost <= max(queue._batch, PART)


def test_a_small_job_does_not_wait_for_all_of_a_large_one() -> None:
    queue = make(capacity=10**6, batch=2 * PART)
    large = queue.put("m", asking(20 * PART), 9.0)
    first = queue.take()
    small = queue.put("m", asking(1), 9.0)
    assert items_of(first) == [PART, PART]
    second = queue.take()
    assert items_of(second) == [PART, 1]
    assert second is not None
    assert second.parts[1][0] is small
    assert not large.result.done()


def test_models_take_turns() -> None:
    queue = make(capacity=10**6, batch=PART)
    queue.put("a", asking(2 * PART), 9.0)
    queue.put("b", asking(2 * PART), 9.0)
    assert [batch.model for batch in serve(queue)] == ["a", "b", "a", "b"]


def test_over_the_capacity_it_refuses_and_says_for_how_long() -> None:
    queue = make(capacity=100)
    queue.put("m", asking(100), 9.0)
    with pytest.raises(Overloaded) as refused:
        queue.put("m", asking(1), 9.0)
    assert refused.value.retry_after == 1  # nothing was measured yet
    with pytest.raises(Overloaded):
        queue.check()
    assert queue.cost == 100
    batch = queue.take()
    assert batch is not None
    queue.deliver(batch, numbers(batch), seconds=20.0)
    queue.put("m", asking(60), 9.0)
    with pytest.raises(Overloaded) as refused:
        queue.put("m", asking(41), 9.0)
    assert refused.value.retry_after == 12  # 60 candidates at 5 a second
    queue.check()
    queue.put("m", asking(40), 9.0)


def test_a_job_larger_than_the_capacity_is_let_in_alone() -> None:
    queue = make(capacity=10)
    job = queue.put("m", asking(11), 9.0)
    with pytest.raises(Overloaded):
        queue.put("m", asking(1), 9.0)
    serve(queue)
    assert len(job.result.result()[0]) == 11


def test_work_past_its_deadline_is_never_taken() -> None:
    clock = Clock()
    queue = make(clock=clock)
    late, timely = queue.put("m", asking(1), 1.0), queue.put("m", asking(1), 1.5)
    clock.now = 1.0
    batch = queue.take()
    assert batch is not None
    assert [job for job, _ in batch.parts] == [timely]
    with pytest.raises(DeadlinePassed):
        late.result.result(0)
    assert queue.cost == 1


def test_the_rest_of_a_large_job_is_not_taken_after_its_deadline() -> None:
    clock = Clock()
    queue = make(batch=PART, clock=clock)
    job = queue.put("m", asking(3 * PART), 1.0)
    batch = queue.take()
    clock.now = 1.0
    assert batch is not None
    queue.deliver(batch, numbers(batch), 1.0)
    queue.close("closing")
    assert queue.take() is None
    with pytest.raises(DeadlinePassed):
        job.result.result(0)


def test_cancelled_work_is_never_taken_and_frees_its_cost() -> None:
    queue = make()
    job, stays = queue.put("m", asking(3), 9.0), queue.put("m", asking(1), 9.0)
    assert job.result.cancel()
    assert queue.cost == 1
    batch = queue.take()
    assert batch is not None
    assert [job for job, _ in batch.parts] == [stays]


def test_work_cancelled_while_it_is_scored_costs_nothing_and_hurts_nobody() -> None:
    queue = make(batch=PART)
    jobs = [queue.put("m", asking(size), 9.0) for size in (1, 2 * PART, 2)]
    batch = queue.take()
    assert batch is not None
    assert all(job.result.cancel() for job in jobs[:2])
    assert queue.cost == 2
    queue.deliver(batch, numbers(batch), 1.0)
    serve(queue)
    assert len(jobs[2].result.result(0)[0]) == 2


def test_a_failing_batch_fails_its_own_jobs_only() -> None:
    queue = make(batch=PART)
    large, small, other = (queue.put("m", asking(size), 9.0) for size in (2 * PART, 1, 1))
    batch = queue.take()
    assert batch is not None
    queue.fail(batch, ValueError("broken"))
    serve(queue)
    with pytest.raises(ValueError, match="broken"):
        large.result.result(0)
    assert small.result.result(0)
    assert other.result.result(0)


def test_a_closed_queue_lets_nothing_in_and_gives_out_what_it_has() -> None:
    queue = make()
    job = queue.put("m", asking(1), 9.0)
    queue.close("closing")
    for ask in (queue.check, lambda: queue.put("m", asking(1), 9.0)):
        with pytest.raises(Unavailable, match="closing"):
            ask()
    serve(queue)
    assert job.result.result(0)
    assert queue.take() is None


def test_abandoned_work_fails_also_what_was_taken() -> None:
    queue = make(batch=1)
    jobs = [queue.put("m", asking(1), 9.0) for _ in range(2)]
    batch = queue.take()
    queue.abandon("died")
    assert batch is not None
    queue.deliver(batch, numbers(batch), 1.0)  # too late: nothing happens
    for job in jobs:
        with pytest.raises(Unavailable, match="died"):
            job.result.result(0)
    assert queue.cost == 0
