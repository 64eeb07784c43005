"""What work tells while it is done: lines, and how far a task is. One protocol for a terminal, a test and a worker."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from recalign.tuning.loop import StepReport

Progress = Callable[[int, int, str], None]
"""Told how much of a task is done, of how much, and facts of it in words ("loss 0.412")."""

_TELL_SECONDS: Final = 0.2  # between two reports of one task to another process


class Reporter(Protocol):
    """Where notes and progress go; the command line shows them."""

    def note(self, text: str) -> None:
        """One line about what happened or happens next."""
        ...

    def task(self, name: str, unit: str = "steps") -> Progress:
        """A callback for the progress of a task that is counted in `unit`."""
        ...


def of_steps(progress: Progress) -> Callable[[StepReport], None]:
    """The same progress as a callback for the training loop."""

    def show(report: StepReport) -> None:
        rate = report.samples / max(report.seconds, 1e-9)
        progress(report.step, report.steps, f"loss {report.loss:.3f}  {rate:,.0f} samples/s")

    return show


class Silent:
    """A `Reporter` that says nothing."""

    def note(self, text: str) -> None:
        """Ignore `text`."""

    def task(self, name: str, unit: str = "steps") -> Progress:
        """A callback that ignores what it is told."""
        return lambda done, total, facts: None


@dataclass(frozen=True)
class TaskReport:
    """How far a task is, as it is sent from one process to another."""

    name: str
    unit: str
    done: int
    total: int
    facts: str


class PipeReporter:
    """The `Reporter` of a worker process: tells its parent through a pipe.

    Work never waits for its progress to be read: what the pipe does not take at once is dropped.
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

    def _send(self, message: str | TaskReport) -> None:
        if select.select([], [self.pipe], [], 0)[1]:
            self.pipe.send(message)


class PipeReader:
    """The parent's side of a `PipeReporter`."""

    def __init__(self, pipe: Connection, reporter: Reporter) -> None:
        self.pipe, self.reporter = pipe, reporter
        self.tasks: dict[str, tuple[Progress, TaskReport]] = {}

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

    def _show(self, message: str | TaskReport) -> None:
        if isinstance(message, str):
            self.reporter.note(message)
            return
        known = self.tasks.get(message.name)
        progress = known[0] if known else self.reporter.task(message.name, message.unit)
        self.tasks[message.name] = progress, message
        progress(message.done, message.total, message.facts)
