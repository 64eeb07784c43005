"""How processes that tune together meet: who they are, which backend they talk through, and over which interface."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore
from transformers.utils import logging as transformers_logging

from recalign.errors import ConfigError, ModelError, ProcessError
from recalign.tuning.sharding import ShardedGroup
from recalign.tuning.world import Group, World

# A process that ends is missed at once. This is for one that hangs; the first may pretrain nano while others wait.
TIMEOUT: Final = timedelta(hours=1)
_LAUNCHED: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


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
def joined(place: Place | None, *, shard: bool = False) -> Iterator[World]:
    """The world of this process while it lasts: all processes wait for each other at its beginning.

    With `shard` each of them holds a part of the model.

    Raises:
        ConfigError: `shard` for one process.
        ProcessError: The others did not come.
        ModelError: More processes on a machine than it has GPUs.
    """
    if place is None or place.size == 1:
        if shard:
            expected = "several: --processes, or torchrun"
            raise ConfigError("a model divided among processes", found="one process", expected=expected)
        yield World()
        return
    if place.size == place.local_size:  # one machine: nothing needs to listen to the network
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, _loopback())
    if place.rank:
        logging.getLogger("recalign").setLevel(logging.ERROR)
        transformers_logging.disable_progress_bar()
    backend = _backend(place)
    group = (ShardedGroup if shard else Group)(place.rank, place.size)
    store = None if place.meeting is None else FileStore(str(place.meeting), place.size)
    with group.together():
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT)
    try:
        yield group
    except RuntimeError as error:
        if shard and (
            "gloo" in str(error) or isinstance(error, dist.DistError)
        ):  # a divided model talks as it computes
            raise group.lost(error) from error
        raise
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
