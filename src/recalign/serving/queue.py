"""Work that waits for the model thread: bounded by cost, taken in batches, fair between requests.

The cost of work is the number of candidates to score. Work of many candidates is cut into parts, and other work comes
between them, so a request for one item does not wait until a whole catalogue is scored.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recalign.data.samples import CandidateList

Values = tuple[NDArray[np.float64], ...]

PART: Final = 128  # candidates of one part
_LONGEST_WAIT: Final = 60  # seconds that a client is told to stay away, at most


class Overloaded(Exception):
    """The queue is full. `retry_after`: seconds (1 to 60) until what waits now is probably scored."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too much work is waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlinePassed(Exception):
    """The request's time was over before it was scored; it never will be."""


class Unavailable(Exception):
    """There is no model thread that could do the work: it died or was closed."""


@dataclass(eq=False, slots=True)
class Job:
    """What one request waits for; `result` has an array per list.

    Attributes:
        sizes: Candidates of each list.
        deadline: By the queue's clock, in seconds.
        parts: What is not taken yet.
        scores: Of the parts that are scored, in order.
    """

    model: str
    sizes: tuple[int, ...]
    deadline: float
    parts: deque[CandidateList]
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    result: Future[Values] = field(default_factory=Future)

    @property
    def cost(self) -> int:
        """Candidates to score."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts of jobs for one model, to be scored together."""

    model: str
    parts: tuple[tuple[Job, CandidateList], ...]

    @property
    def lists(self) -> list[CandidateList]:
        """What the scorer is asked."""
        return [part for _, part in self.parts]

    @property
    def cost(self) -> int:
        """Candidates to score."""
        return sum(len(part.item_ids) for _, part in self.parts)


class WorkQueue:
    """Jobs of all requests; one thread takes them, any thread puts them. A job leaves it when its result is settled."""

    def __init__(self, *, capacity: int, batch: int, clock: Callable[[], float]) -> None:
        """Make an empty queue.

        Args:
            capacity: Candidates that may wait or be scored at one time. A job that finds nothing else is always let in.
            batch: Candidates that are scored together, at most.
            clock: Seconds, monotonic.
        """
        self._capacity, self._batch, self._clock = capacity, batch, clock
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()  # with parts that nobody took
        self._open: set[Job] = set()  # not settled: also those that are being scored
        self._cost = 0  # of these
        self._closed: str | None = None
        self._scored, self._seconds = 0, 0.0

    @property
    def cost(self) -> int:
        """Candidates of all jobs that are not settled."""
        return self._cost

    def check(self) -> None:
        """Raise what `put` would raise for one candidate: before other work is done for it."""
        with self._changed:
            if self._closed is not None:
                raise Unavailable(self._closed)
            if self._open and self._cost >= self._capacity:
                raise Overloaded(self._retry_after())

    def put(self, model: str, lists: Sequence[CandidateList], deadline: float) -> Job:
        """Let work in. Cancelling its `result` takes it out again.

        Raises:
            Overloaded: Too much is waiting.
            Unavailable: The queue is closed.
        """
        job = Job(model, tuple(len(asked.item_ids) for asked in lists), deadline, deque(_parts(lists)))
        with self._changed:
            if self._closed is not None:
                raise Unavailable(self._closed)
            if self._open and self._cost + job.cost > self._capacity:
                raise Overloaded(self._retry_after())
            self._open.add(job)
            self._cost += job.cost
            job.result.add_done_callback(lambda _: self._leave(job))
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def take(self) -> Batch | None:
        """Wait for work and take as much of it as one batch holds; None when the queue is closed and empty.

        All parts of a batch are for one model. Work whose deadline has passed fails here, without being scored.
        """
        with self._changed:
            while True:
                for job in [job for job in self._jobs if job.deadline <= self._clock()]:
                    self._fail(job, DeadlinePassed("the deadline passed before it was scored"))
                if self._jobs:
                    return self._take()
                if self._closed is not None:
                    return None
                self._changed.wait()

    def deliver(self, batch: Batch, values: Sequence[NDArray[np.float64]], seconds: float) -> None:
        """Give jobs their scores, which took `seconds`; a job with all its scores is settled."""
        with self._changed:
            self._scored, self._seconds = self._scored + batch.cost, self._seconds + seconds
            for (job, _), scores in zip(batch.parts, values, strict=True):
                job.scores.append(scores)
                if sum(map(len, job.scores)) == job.cost and _is_wanted(job):
                    cuts = np.cumsum(job.sizes)[:-1]
                    job.result.set_result(tuple(np.split(np.concatenate(job.scores), cuts)))

    def fail(self, batch: Batch, error: Exception) -> None:
        """Fail the jobs of a batch, and no others."""
        for job in dict.fromkeys(job for job, _ in batch.parts):
            self._fail(job, error)

    def close(self, reason: str) -> None:
        """Let nothing in any more. What is in the queue can still be taken."""
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify_all()

    def abandon(self, reason: str) -> None:
        """Close, and fail all that is not settled: nobody will take it."""
        self.close(reason)
        for job in list(self._open):
            self._fail(job, Unavailable(reason))

    def _take(self) -> Batch:
        model, room = self._jobs[0].model, self._batch
        taken: list[tuple[Job, CandidateList]] = []
        others: list[Job] = []  # for other models: they keep their place
        while self._jobs and room > 0:
            job = self._jobs.popleft()
            if job.model != model:
                others.append(job)
                continue
            if taken and len(job.parts[0].item_ids) > room:
                self._jobs.appendleft(job)
                break
            part = job.parts.popleft()
            taken.append((job, part))
            room -= len(part.item_ids)
            if job.parts:
                self._jobs.append(job)  # the work of others comes before its next part
        self._jobs.extendleft(reversed(others))
        return Batch(model, tuple(taken))

    def _fail(self, job: Job, error: Exception) -> None:
        with self._changed:
            if _is_wanted(job):
                job.result.set_exception(error)

    def _leave(self, job: Job) -> None:
        with self._changed:
            self._open.discard(job)
            self._cost -= job.cost
            if job.parts:  # only such a job is in the row
                self._jobs.remove(job)

    def _retry_after(self) -> int:
        if not self._scored:
            return 1
        return min(max(1, math.ceil(self._cost * self._seconds / self._scored)), _LONGEST_WAIT)


def _parts(lists: Sequence[CandidateList]) -> Iterator[CandidateList]:
    for asked in lists:
        for start in range(0, len(asked.item_ids), PART):
            yield replace(asked, item_ids=asked.item_ids[start : start + PART])


def _is_wanted(job: Job) -> bool:
    """Whether the job is neither cancelled nor settled; if so, it cannot be cancelled any more."""
    return not job.result.done() and job.result.set_running_or_notify_cancel()
