"""Progress on the terminal: a bar with loss, samples per second and time left; lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from recalign.tuning.loop import StepReport

LINE_SECONDS = 30.0


class TerminalReporter:
    """A `Reporter` on stderr; use as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=quiet)
        self.bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                TimeRemainingColumn(compact=True),
                console=self.console,
            )
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def note(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    def task(self, name: str) -> Callable[[StepReport], None]:
        """A progress callback for the loop called `name`."""
        task: list[TaskID] = []
        last = [time.monotonic()]

        def show(report: StepReport) -> None:
            rate = report.samples / max(report.seconds, 1e-9)
            facts = f"loss {report.loss:.3f}  {rate:,.0f} samples/s"
            if self.bar:
                if not task:
                    task.append(self.bar.add_task(name, total=report.steps, facts=facts))
                self.bar.update(task[0], completed=report.step, facts=facts)
                return
            now = time.monotonic()
            if report.step == report.steps or now - last[0] >= LINE_SECONDS:
                last[0] = now
                left = report.seconds / report.step * (report.steps - report.step) if report.step else 0.0
                self.note(f"{name}: step {report.step}/{report.steps}  {facts}  {left:.0f} s left")

        return show

    def count(self, name: str, unit: str) -> Callable[[int, int, str], None]:
        """A progress callback (done, total, facts) for work that is counted in `unit`."""
        task: list[TaskID] = []
        last = [time.monotonic()]

        def show(done: int, total: int, facts: str) -> None:
            if self.bar:
                if not task:
                    task.append(self.bar.add_task(name, total=total, facts=facts))
                self.bar.update(task[0], completed=done, facts=facts)
                return
            now = time.monotonic()
            if done == total or now - last[0] >= LINE_SECONDS:
                last[0] = now
                self.note(f"{name}: {done:,}/{total:,} {unit}  {facts}".rstrip())

        return show
