"""The processes that tune one model together, as the training loop sees them.

Each process encodes and computes a share of a step. The gradients of all are summed before the optimizer's step, so
every process makes the same step. `World` is a process alone, for which nothing changes; `Group` is one of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recalign.artifacts import fingerprint
from recalign.errors import ProcessError
from recalign.models.config import BackboneConfig
from recalign.seeding import derive_seed

_T = TypeVar("_T")


class World:
    """The processes of one tuning: this one alone."""

    rank: int = 0
    size: int = 1

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Places of this process's part of a step, in order; `sizes` says how long each of its pieces is."""
        return list(range(len(sizes)))

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

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this process's part of the loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients over the processes."""

    def idle(self, passes: int) -> int:
        """How many passes, beside its own, this process has to make for others to get on."""
        return 0

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's values."""

    def first(self, work: Callable[[], _T]) -> _T | None:
        """Work that the first process does while the others wait; they get None. Where it fails, all fail."""
        return work()

    def check_same(self, thing: str, facts: object) -> None:
        """Raise ProcessError unless all processes have the same `facts` (JSON values) of a thing."""

    def loading(self, config: BackboneConfig) -> BackboneConfig:
        """How this process loads a backbone of that configuration."""
        return config

    def divide(self, model: nn.Module, device: str) -> None:
        """Take this process's part of a model that is about to be tuned, which may be all of it, to the device."""

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """This process's part of a tensor, on the device of its part of another of that shape."""
        return whole.to(like.device)

    def whole(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors as the first process saves them, from all processes' parts."""
        return dict(parts)

    def collect(self, model: nn.Module) -> None:
        """Make the trained parameters whole where the first process saves them; a divided model cannot run after."""


class Group(World):
    """One of several processes, which have joined (`joined`).

    Every method is called by all of them, in the same order. It raises ProcessError where another process is lost.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def share(self, sizes: Sequence[int]) -> list[int]:
        """The longest piece goes to the process that has the least so far, then the next."""
        loads, mine = [0] * self.size, []
        for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
            rank = loads.index(min(loads))
            loads[rank] += sizes[place]
            if rank == self.rank:
                mine.append(place)
        return sorted(mine)

    def seed(self, seed: int, step: int) -> None:
        """By step and rank, so that a resumed run draws what an uninterrupted one draws."""
        torch.manual_seed(derive_seed(seed, "dropout", step, self.rank))

    def names(self) -> tuple[str | int, ...]:
        return ("rank", self.rank)

    def gather(self, *values: float) -> list[tuple[float, ...]]:
        own = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        with self.together():
            dist.all_gather(rows, own)
        return [tuple(row.tolist()) for row in rows]

    def reduce(self, parameters: Iterable[nn.Parameter]) -> None:
        """One sum over all of them, in float32; a parameter that no process has a gradient for gets none."""
        tensors = list(parameters)
        gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors]
        given = torch.tensor([float(tensor.grad is not None) for tensor in tensors], device=tensors[0].device)
        joint = torch.cat([*(gradient.float().reshape(-1) for gradient in gradients), given])
        with self.together():
            dist.all_reduce(joint)
        *sums, given = torch.split(joint, [*(tensor.numel() for tensor in tensors), len(tensors)])
        for tensor, summed, count in zip(tensors, sums, given.tolist(), strict=True):
            tensor.grad = summed.view_as(tensor).to(tensor.dtype) if count else None

    @torch.no_grad()
    def align(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            with self.together():
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
    def together(self) -> Iterator[None]:
        """What torch raises within becomes `lost`."""
        try:
            yield
        except RuntimeError as error:
            raise self.lost(error) from error

    def lost(self, error: RuntimeError) -> ProcessError:
        """What torch raises where it cannot reach a process, as an error of ours."""
        found = f"another process lost ({str(error).splitlines()[0]})"
        return ProcessError(self._name(), found=found, hint="The same command goes on from the newest checkpoint")
