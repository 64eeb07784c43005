"""Many items, one teacher: workers that share one list, so never more calls are in flight than there are workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from recalign.errors import TeacherError
from recalign.llm.calls import Calls

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` and return its result, in a thread of its own where an event loop runs already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def work_through(
    items: Sequence[Item],
    work: Callable[[Item], Awaitable[Result]],
    calls: Calls[Any],
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
) -> list[Result]:
    """One result per item, in order, however many workers there are. Then the teacher is closed.

    `work` makes the result of one item, and asks through `calls`. `progress` is told after every item how many are
    done, of how many, and the tokens spent.

    Raises:
        TeacherError: The work must stop. Calls in flight have ended by then, and their answers are in the ledger.
    """
    results: dict[int, Result] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for place, item in waiting:
            try:
                results[place] = await work(item)
            except TeacherError:
                await calls.drain()  # what is in flight is paid for and belongs into the ledger
                raise
            spent = calls.budget.spent.total
            progress(len(results), len(items), f"{spent:,} tokens" if spent else "")
            await asyncio.sleep(0)  # lets signals through where a teacher never waits

    async def workers() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(calls.concurrency, len(items))):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the others are what stopping caused
        finally:
            await calls.teacher.close()

    run_to_end(workers())
    return [results[place] for place in range(len(items))]
