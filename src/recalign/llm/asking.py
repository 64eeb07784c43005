"""Many items, one teacher: workers that share one list, so never more calls are in flight than there are workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from recalign.errors import TeacherError
from recalign.llm.calls import Calls, GivenUp, QuestionT, Reply

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


class Asking(Generic[QuestionT]):
    """Works on many items at a time and notices when the teacher is gone.

    Attributes:
        calls: How the teacher is asked.
        workers: Most items at a time: what the configuration says, or less where the teacher cannot do so many.
    """

    def __init__(
        self, calls: Calls[QuestionT], progress: Callable[[int, int, str], None] = lambda done, total, facts: None
    ) -> None:
        """`progress` is told after every item how many are done, of how many, and the tokens spent."""
        self.calls, self._progress = calls, progress
        most, limit = calls.config.concurrency, calls.teacher.max_concurrency
        self.workers = most if limit is None else min(most, limit)
        self._given_up = 0

    def run(self, items: Sequence[Item], work: Callable[[Item], Awaitable[Result]]) -> list[Result]:
        """One result per item, in order, however many workers there are. Then the teacher is closed.

        Args:
            items: What there is to work on.
            work: Makes the result of one item; it asks through `ask`.

        Raises:
            TeacherError: The work must stop. Calls in flight have ended by then, and their answers are in the ledger.
        """
        return run_to_end(self._run(items, work))

    async def ask(self, question: QuestionT) -> Reply:
        """Answer a question, as `Calls.ask` does.

        Raises:
            GivenUp: No attempt brought an answer. That loses one item.
            TeacherError: As many questions in a row were given up as `ClientConfig.failures` says: the teacher is gone.
        """
        try:
            reply = await self.calls.ask(question)
        except GivenUp as failure:
            self._given_up += 1
            if self._given_up < self.calls.config.failures:
                raise
            raise TeacherError(
                f"teacher {self.calls.teacher.name} does not answer",
                found=f"{self._given_up} questions in a row given up, the last for: {failure.reason}",
                hint="All answers are kept in the ledger: run the same command again when it does.",
            ) from None
        if not reply.cached:  # an answer from the ledger does not show that the teacher is still there
            self._given_up = 0
        return reply

    async def _run(self, items: Sequence[Item], work: Callable[[Item], Awaitable[Result]]) -> list[Result]:
        results: dict[int, Result] = {}
        waiting = iter(enumerate(items))

        async def worker() -> None:
            for place, item in waiting:
                try:
                    results[place] = await work(item)
                except TeacherError:
                    await self.calls.drain()  # what is in flight is paid for and belongs into the ledger
                    raise
                spent = self.calls.budget.spent.total
                self._progress(len(results), len(items), f"{spent:,} tokens" if spent else "")
                await asyncio.sleep(0)  # lets signals through where a teacher never waits

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.workers, len(items))):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the others are what stopping caused
        finally:
            await self.calls.teacher.close()
        return [results[place] for place in range(len(items))]
