"""One tuning in several processes of this machine: started, watched and ended together.

The processes find each other through a file and talk over the loopback interface, so no port is open to the network.
Torch is loaded in the processes alone, once their threads are set.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from recalign.errors import Interrupted, ProcessError, RecalignError
from recalign.experiment.progress import PipeReader, PipeReporter, Reporter
from recalign.experiment.worker import WATCH_SECONDS, enter_worker

# From the end of one process by an error to the end of all: the others notice by themselves and say what they lost.
GRACE_SECONDS: Final = 20.0


@dataclass(frozen=True)
class TuneRequest:
    """What `recalign.experiment.tune.tune` is asked for; see there."""

    data: Sequence[Path]
    output: Path
    backbone: Mapping[str, object]
    parent: Path | None
    validation: Path | None
    cot: Path | None
    settings: Mapping[str, object]
    restart: bool
    shard: bool

    def told(self) -> dict[str, object]:
        """The settings as a tracker shows them, without the path of a machine."""
        return {**self.settings, "backbone": Path(str(self.backbone["name"])).name}


@dataclass(frozen=True)
class _Answer:
    """How a process ended; nothing comes from one that died."""

    error: RecalignError | None = None
    interrupted: int = 0
    said: str = ""


class _Died(ProcessError):
    """A process ended without an answer."""


@dataclass
class _Member:
    """One of the processes, as their parent sees it."""

    rank: int
    process: BaseProcess
    answers: Connection

    def error(self) -> RecalignError | None:
        """Why the process, which has ended, did not end well."""
        try:
            answer: _Answer = self.answers.recv()
        except EOFError:  # it died
            code = self.process.exitcode or 0
            found = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            hint = "Run the same command again: it goes on from the newest checkpoint"
            return _Died(f"process {self.rank}", found=found, hint=hint)
        return Interrupted(answer.interrupted, answer.said) if answer.interrupted else answer.error


def tune_together(request: TuneRequest, processes: int, reporter: Reporter) -> None:
    """Tune in `processes` processes of this machine; its cores are shared out, unless OMP_NUM_THREADS says otherwise.

    Raises:
        Interrupted: A signal came; all processes stopped after the same step, and a checkpoint was written.
        RecalignError: What a process raised; ProcessError where one died.
    """
    from recalign.tuning.guards import collected_signals

    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    reading, writing = context.Pipe(duplex=False)
    progress = PipeReader(reading, reporter)
    members: list[_Member] = []
    with TemporaryDirectory(prefix="recalign-") as folder, collected_signals() as pending:
        try:
            for rank in range(processes):
                receiving, sending = context.Pipe(duplex=False)
                place = rank, processes, Path(folder) / "meeting"
                arguments = (request, place, os.getpid(), stop, writing, sending)
                process = context.Process(target=_member, args=arguments, name=f"recalign-{rank}")
                process.start()
                sending.close()
                members.append(_Member(rank, process, receiving))
            errors = _watch(members, progress, stop, pending)
        finally:
            for member in members:
                member.process.kill()
                member.process.join()
    progress.end_tasks()
    if errors:
        raise _cause(errors, pending)


def _watch(
    members: Iterable[_Member], progress: PipeReader, stop: Event, pending: Sequence[int]
) -> list[RecalignError]:
    """Wait until all have ended, or some in error and the others do not notice; the errors in the order they came."""
    running, errors, deadline = list(members), [], float("inf")
    while running and time.monotonic() < deadline:
        wait([member.process.sentinel for member in running], WATCH_SECONDS)
        progress.read()
        if pending:
            stop.set()
        ended = [member for member in running if not member.process.is_alive()]
        running = [member for member in running if member not in ended]
        errors += [error for member in ended if (error := member.error()) is not None]
        if errors:
            deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
    return errors


def _cause(errors: Sequence[RecalignError], pending: Sequence[int]) -> RecalignError:
    """The error that the others follow from: a process that lost another one is not the one to ask."""

    def place(error: RecalignError) -> int:
        if isinstance(error, Interrupted):
            return 0
        if not isinstance(error, ProcessError):
            return 1
        return 2 if isinstance(error, _Died) else 3

    cause = min(errors, key=place)
    if pending and place(cause) != 1:
        done = cause.thing if isinstance(cause, Interrupted) else "stopped while no step was under way"
        return Interrupted(pending[0], done)
    return cause


def _member(
    request: TuneRequest,
    place: tuple[int, int, Path],
    parent: int,
    stop: Event,
    progress: Connection,
    answers: Connection,
) -> None:
    """One process, from its beginning to its end; a bug leaves its traceback and exit code 1."""
    rank, size, meeting = place
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // size))
    enter_worker(threads, parent, None if rank else stop)  # the others hear of it after a step
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # training puts its own in its place, and nothing else is to be saved
    try:
        from recalign.experiment.tune import tune_at
        from recalign.tuning.joining import Place

        tune_at(Place(rank, size, rank, size, meeting), request, Reporter() if rank else PipeReporter(progress))
    except Interrupted as stopped:
        answers.send(_Answer(interrupted=stopped.signal_number, said=stopped.thing))
    except RecalignError as error:
        answers.send(_Answer(error=error))
    else:
        answers.send(_Answer())
