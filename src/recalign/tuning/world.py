"""The processes that tune one model together, as the training loop sees them.

Each process takes a share of a step's trees, and the gradients of all are summed before the optimizer's step, so every
process makes the same step. `World` is a process alone, for which nothing changes; `Group` is one of several.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore
from transformers.utils import logging as transformers_logging

from recalign.artifacts import fingerprint
from recalign.errors import ModelError, ProcessError
from recalign.prompting.packing import Tree
from recalign.seeding import derive_seed

# A process that ends is missed at once. This is for one that hangs; the first may pretrain nano while others wait.
TIMEOUT: Final = timedelta(hours=1)
_LAUNCHED: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the processes this one is.

    Attributes:
        rank, size: Its number among all processes, from 0; how many there are.
        local_rank, local_size: The same among those on this machine.
        meeting: A file by which the processes find each other; by default the environment says how (`torchrun`).
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    meeting: Path | None = None


class World:
    """The processes of one tuning: this one alone."""

    rank: int = 0
    size: int = 1

    def share(self, trees: Sequence[Tree]) -> list[Tree]:
        """This process's part of a step's trees, in their order."""
        return list(trees)

    def seed(self, seed: int, step: int) -> None:
        """Seed the dropout of a step. One process seeds once; its checkpoints hold the generators' states."""

    def names(self) -> tuple[str | int, ...]:
        """What the names of this process's generators end with."""
        return ()

    def gather(self, *values: float) -> list[tuple[float, ...]]:
        """The values of every process, by rank."""
        return [values]

    def total(self, *values: float) -> tuple[float, ...]:
        """The sum of each value over the processes, the same on all of them."""
        return tuple(sum(column) for column in zip(*self.gather(*values), strict=True))

    def reduce(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients over the processes."""

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's values."""

    def first(self, work: Callable[[], _T]) -> _T | None:
        """Work that the first process does while the others wait; they get None. Where it fails, all fail."""
        return work()

    def check_same(self, thing: str, facts: object) -> None:
        """Raise ProcessError unless all processes have the same `facts` (JSON values) of a thing."""


class Group(World):
    """One of several processes, which have joined (`joined`).

    Every method is called by all of them, in the same order. It raises ProcessError where another process is lost.
    """

    def __init__(self, place: Place) -> None:
        self.rank, self.size = place.rank, place.size

    def share(self, trees: Sequence[Tree]) -> list[Tree]:
        """The longest tree goes to the process with the fewest tokens so far, then the next."""
        loads, mine = [0] * self.size, []
        for index in sorted(range(len(trees)), key=lambda index: -trees[index].n_tokens):
            rank = loads.index(min(loads))
            loads[rank] += trees[index].n_tokens
            if rank == self.rank:
                mine.append(index)
        return [trees[index] for index in sorted(mine)]

    def seed(self, seed: int, step: int) -> None:
        """By step and rank, so that a resumed run draws what an uninterrupted one draws."""
        torch.manual_seed(derive_seed(seed, "dropout", step, self.rank))

    def names(self) -> tuple[str | int, ...]:
        return ("rank", self.rank)

    def gather(self, *values: float) -> list[tuple[float, ...]]:
        own = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        with self._together():
            dist.all_gather(rows, own)
        return [tuple(row.tolist()) for row in rows]

    def reduce(self, parameters: Iterable[nn.Parameter]) -> None:
        """One sum over all of them, in float32; a parameter that no process has a gradient for gets none."""
        tensors = list(parameters)
        gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors]
        given = torch.tensor([float(tensor.grad is not None) for tensor in tensors], device=tensors[0].device)
        joint = torch.cat([*(gradient.float().reshape(-1) for gradient in gradients), given])
        with self._together():
            dist.all_reduce(joint)
        *sums, given = torch.split(joint, [*(tensor.numel() for tensor in tensors), len(tensors)])
        for tensor, summed, count in zip(tensors, sums, given.tolist(), strict=True):
            tensor.grad = summed.view_as(tensor).to(tensor.dtype) if count else None

    @torch.no_grad()
    def align(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            with self._together():
                dist.broadcast(tensor, 0)

    def first(self, work: Callable[[], _T]) -> _T | None:
        if self.rank:
            ((done,), *_) = self.gather(0)
            if not done:
                raise ProcessError(self._name(), found="process 0 failed", hint="It says why")
            return None
        done = False
        try:
            result = work()
            done = True
        finally:
            self.gather(done)
        return result

    def check_same(self, thing: str, facts: object) -> None:
        digests = self.gather(int(fingerprint(facts)[:12], 16))  # as much as a float64 holds exactly
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise ProcessError(
                f"{thing} on {self.size} processes",
                found=f"another on process {', '.join(others)} than on process 0",
                expected="the same on all",
                hint="All machines need the same data, backbone and output directory, for example on a shared disk",
            )

    def _name(self) -> str:
        return f"process {self.rank} of {self.size}"

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise ProcessError(
                self._name(),
                found=f"another process lost ({str(error).splitlines()[0]})",
                hint="The same command goes on from the newest checkpoint",
            ) from error


def launched(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that `torchrun` (or another launcher with its variables) gave this process, or None.

    Raises:
        ProcessError: A variable is no number.
    """
    if not all(name in environment for name in _LAUNCHED):
        return None
    try:
        return Place(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment.get("LOCAL_RANK", 0)),
            local_size=int(environment.get("LOCAL_WORLD_SIZE", 1)),
        )
    except ValueError as error:
        raise ProcessError("RANK, WORLD_SIZE, LOCAL_RANK", found=str(error), expected="numbers") from error


@contextmanager
def joined(place: Place | None) -> Iterator[World]:
    """The world of this process while it lasts: all processes wait for each other at its beginning.

    Raises:
        ProcessError: The others did not come.
        ModelError: More processes on a machine than it has GPUs.
    """
    if place is None or place.size == 1:
        yield World()
        return
    if place.size == place.local_size:  # one machine: nothing needs to listen to the network
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, _loopback())
    if place.rank:
        logging.getLogger("recalign").setLevel(logging.ERROR)
        transformers_logging.disable_progress_bar()
    backend = _backend(place)
    group = Group(place)
    store = None if place.meeting is None else FileStore(str(place.meeting), place.size)
    with group._together():
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT)
    try:
        yield group
    finally:
        dist.destroy_process_group()


def _backend(place: Place) -> str:
    """On GPUs each process takes one of its own."""
    if not torch.cuda.is_available():
        return "gloo"
    if place.local_size > torch.cuda.device_count():
        found, expected = f"{torch.cuda.device_count()} GPUs", "one for each"
        raise ModelError(f"{place.local_size} processes on this machine", found=found, expected=expected)
    torch.cuda.set_device(place.local_rank)
    return "cpu:gloo,cuda:nccl"


def _loopback() -> str:
    names = [name for _, name in socket.if_nameindex()]
    return next(name for name in ("lo", "lo0", *names) if name in names)
