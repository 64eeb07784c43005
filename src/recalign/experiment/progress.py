"""What work tells while it is done: lines, and how far a task is. The same for a terminal, a test and a worker."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recalign.tuning.loop import StepReport

Progress = Callable[[int, int, str], None]
"""Told how much of a task is done, of how much, and facts of it in words ("loss 0.412")."""

LogEntry = Mapping[str, float]
Log = Callable[[Sequence[LogEntry], bool], None]
"""Told what is new in the log of a training (`recalign.tuning.loop.LoopResult`), and whether that is all."""

_PART: Final = 16  # entries of a log in one message, which must be small enough for one write
_TELL_SECONDS: Final = 0.2  # between two reports of one task to another process


class Reporter:
    """Where notes and progress go: this one says nothing."""

    def note(self, text: str) -> None:
        """One line about what happened or happens next."""

    def task(self, name: str, unit: str = "steps") -> Progress:
        """A callback for the progress of a task that is counted in `unit`."""
        return lambda done, total, facts: None

    def log(self, name: str, settings: Mapping[str, object]) -> Log:
        """A callback for the log of the training of that name, which has these settings (JSON)."""
        return lambda entries, ended: None


def of_training(reporter: Reporter, name: str, settings: Mapping[str, object]) -> Callable[[StepReport], None]:
    """Progress and log of a training as a callback for the training loop."""
    show, log, told = of_steps(reporter.task(name)), reporter.log(name, settings), 0

    def tell(report: StepReport) -> None:
        nonlocal told
        show(report)
        if len(report.log) > told:
            log(report.log[told:], report.step == report.steps)
            told = len(report.log)

    return tell


def of_steps(progress: Progress) -> Callable[[StepReport], None]:
    """The same progress as a callback for the training loop."""

    def show(report: StepReport) -> None:
        rate = report.samples / max(report.seconds, 1e-9)
        progress(report.step, report.steps, f"loss {report.loss:.3f}  {rate:,.0f} samples/s")

    return show


@dataclass(frozen=True)
class TaskReport:
    """How far a task is, as it is sent from one process to another."""

    name: str
    unit: str
    done: int
    total: int
    facts: str


@dataclass(frozen=True)
class LogReport:
    """What is new in the log of a training, as it is sent from one process to another."""

    name: str
    settings: Mapping[str, object]
    entries: Sequence[LogEntry]
    ended: bool


class PipeReporter(Reporter):
    """The `Reporter` of a worker process: tells its parent through a pipe.

    Work never waits for its progress to be read: what the pipe does not take at once is dropped, or where it belongs to
    a log, sent later.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def note(self, text: str) -> None:
        """Send a line."""
        self._send(text)

    def task(self, name: str, unit: str = "steps") -> Progress:
        """A callback that sends a report now and then, and that of the end."""
        last = float("-inf")

        def show(done: int, total: int, facts: str) -> None:
            nonlocal last
            if done == total or time.monotonic() - last >= _TELL_SECONDS:
                last = time.monotonic()
                self._send(TaskReport(name, unit, done, total, facts))

        return show

    def log(self, name: str, settings: Mapping[str, object]) -> Log:
        """A callback that sends what is new, with what could not be sent before."""
        waiting: list[LogEntry] = []

        def tell(entries: Sequence[LogEntry], ended: bool) -> None:
            waiting.extend(entries)
            while waiting:
                part = tuple(waiting[:_PART])
                if not self._send(LogReport(name, settings, part, ended and len(part) == len(waiting))):
                    return
                del waiting[:_PART]

        return tell

    def _send(self, message: _Message) -> bool:
        """Whether the message is sent."""
        if not select.select([], [self.pipe], [], 0)[1]:
            return False
        self.pipe.send(message)
        return True


_Message = str | TaskReport | LogReport


class PipeReader:
    """The parent's side of a `PipeReporter`."""

    def __init__(self, pipe: Connection, reporter: Reporter) -> None:
        self.pipe, self.reporter = pipe, reporter
        self.tasks: dict[str, tuple[Progress, TaskReport]] = {}
        self.logs: dict[str, Log] = {}

    def read(self) -> None:
        """Pass on what has been sent."""
        while self.pipe.poll():
            self._show(self.pipe.recv())

    def end_tasks(self) -> None:
        """The job is over: a task that stopped early is finished where it stopped."""
        self.read()
        for progress, report in self.tasks.values():
            if report.done < report.total:
                progress(report.done, report.done, report.facts)
        self.tasks.clear()

    def _show(self, message: _Message) -> None:
        if isinstance(message, str):
            self.reporter.note(message)
            return
        if isinstance(message, LogReport):
            if message.name not in self.logs:
                self.logs[message.name] = self.reporter.log(message.name, message.settings)
            self.logs[message.name](message.entries, message.ended)
            return
        known = self.tasks.get(message.name)
        progress = known[0] if known else self.reporter.task(message.name, message.unit)
        self.tasks[message.name] = progress, message
        progress(message.done, message.total, message.facts)
