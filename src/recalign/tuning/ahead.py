"""Batches made ahead: while a GPU works on one step, a thread encodes the prompts of the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final

import torch

from recalign.prompting.packing import Tree
from recalign.tuning.sources import BatchSource, Share, everything

# Seconds after which the thread lets the other one go on, which keeps the GPU busy. Python's own are 5 ms, at each of
# many waits in a step.
_TURN: Final = 0.0005


class Ahead:
    """The batches of `source`; with a `pool` of one thread the next one can be begun early.

    A batch is a function of its step, so nothing but the time differs. The caller begins a batch, leaves the source and
    its tokenizer alone until `settle`, and then takes it.
    """

    def __init__(self, source: BatchSource, pool: ThreadPoolExecutor | None) -> None:
        self._source, self._pool = source, pool
        self._begun: tuple[int, Share, Future[Sequence[Tree]]] | None = None

    def batch(self, step: int, share: Share = everything) -> Sequence[Tree]:
        """See `BatchSource`; errors of a batch that was begun are raised here."""
        self.settle()
        if self._begun is not None and self._begun[:2] == (step, share):
            return self._begun[2].result()
        return self._source.batch(step, share)

    def begin(self, step: int, share: Share) -> None:
        """Begin a batch, where there is a thread for it."""
        if self._pool is not None:
            self._begun = step, share, self._pool.submit(self._source.batch, step, share)

    def settle(self) -> None:
        """Wait until no batch is being made."""
        if self._begun is not None:
            wait([self._begun[2]])


@contextmanager
def made_ahead(source: BatchSource, device: torch.device) -> Iterator[Ahead]:
    """The batches of `source`, with a thread where the model is on a GPU: on a CPU there is no core to spare."""
    if device.type == "cpu":
        yield Ahead(source, None)
        return
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="recalign-batches") as pool:
            yield Ahead(source, pool)
    finally:
        sys.setswitchinterval(before)
