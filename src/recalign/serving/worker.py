"""The model thread: the only one that calls scorers, so that requests never compete for a model.

There is no waiting window. When the thread is free it takes what is queued, up to a budget: under little load a request
is scored at once, and under much load batches are full by themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recalign.data.samples import CandidateList
from recalign.scoring.base import Scorer, watched
from recalign.serving.queue import Batch, Values, WorkQueue

DIED: Final = "the model thread died"
STUCK: Final = "the model thread is stuck"
CLOSED: Final = "the server is closing"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model thread takes on.

    Attributes:
        capacity: Candidates that may wait or be scored at one time; more are refused.
        batch: Candidates that are scored together, at most.
        stall_seconds: Without a sign of life from the scorer for this long, the thread counts as stuck.
    """

    capacity: int = 8_000
    batch: int = 256
    stall_seconds: float = 2.0


class ModelThread:
    """Scores candidate lists of many callers with one or more scorers."""

    def __init__(
        self,
        scorers: Mapping[str, Scorer],
        limits: Limits | None = None,
        *,
        on_batch: Callable[[int, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the thread; `start` starts it.

        Args:
            scorers: By the name that `submit` takes.
            limits: See `Limits`.
            on_batch: Called after each batch with its candidates and seconds, in the model thread.
            clock: Seconds, monotonic; deadlines are by this clock.
        """
        self.limits, self.clock = limits or Limits(), clock
        self._scorers, self._on_batch = scorers, on_batch
        self._queue = WorkQueue(capacity=self.limits.capacity, batch=self.limits.batch, clock=clock)
        self._last_sign: float | None = None  # None while nothing is being scored
        self._thread = threading.Thread(target=self._run, name="recalign-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, model: str, lists: Sequence[CandidateList], deadline: float) -> Future[Values]:
        """Have lists scored: one array per list. Cancelling the future takes the work out of the queue.

        The future raises `DeadlinePassed`, `Unavailable`, or what the scorer raised for the batch that it was in.

        Raises:
            Overloaded: Too much is waiting.
            Unavailable: The thread is dead or closed.
        """
        return self._queue.put(model, lists, deadline).result

    def check(self) -> None:
        """Raise what `submit` would raise for one candidate: before other work is done for it."""
        self._queue.check()

    @property
    def cost(self) -> int:
        """Candidates that wait or are being scored."""
        return self._queue.cost

    @property
    def trouble(self) -> str | None:
        """Why no work can be done now: the thread is not running, or has been stuck for `stall_seconds`; else None."""
        if not self._thread.is_alive():
            return DIED
        last_sign = self._last_sign
        if last_sign is not None and self.clock() - last_sign >= self.limits.stall_seconds:
            return STUCK
        return None

    def close(self, timeout: float) -> None:
        """Finish what was accepted, for `timeout` seconds at most. Then what is left fails with `Unavailable`."""
        self._queue.close(CLOSED)
        self._thread.join(timeout)
        self._queue.abandon(CLOSED)

    def _run(self) -> None:
        try:
            while (batch := self._queue.take()) is not None:
                self._score(batch)
        finally:  # also when the scorer raised what is no Exception: nobody may wait for a dead thread
            self._queue.abandon(DIED)

    def _score(self, batch: Batch) -> None:
        scorer, start = self._scorers[batch.model], self.clock()
        self._sign()
        try:
            with watched(scorer, lambda _done, _total: self._sign()):
                values = score_together(scorer, batch.lists)
        except Exception as error:
            self._queue.fail(batch, error)
        else:
            seconds = self.clock() - start
            self._queue.deliver(batch, values, seconds)
            if self._on_batch is not None:
                self._on_batch(batch.cost, seconds)
        finally:
            self._last_sign = None

    def _sign(self) -> None:
        self._last_sign = self.clock()


def score_together(scorer: Scorer, lists: Sequence[CandidateList]) -> list[NDArray[np.float64]]:
    """Score lists in one call, those of one history as one list, so that the scorer reads the history once."""
    places: dict[CandidateList, list[int]] = {}
    for place, asked in enumerate(lists):
        places.setdefault(replace(asked, item_ids=()), []).append(place)
    merged = [
        replace(history, item_ids=tuple(item for place in of_it for item in lists[place].item_ids))
        for history, of_it in places.items()
    ]
    scores = [np.empty(0)] * len(lists)
    for of_it, values in zip(places.values(), scorer.score(merged).values, strict=True):
        cuts = np.cumsum([len(lists[place].item_ids) for place in of_it])[:-1]
        for place, own in zip(of_it, np.split(values, cuts), strict=True):
            scores[place] = own
    return scores
