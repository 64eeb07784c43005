"""Progress on the terminal: a bar with facts and time left; lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from recalign.experiment.progress import Progress as Callback

LINE_SECONDS: Final = 30.0


class TerminalReporter:
    """A `recalign.experiment.progress.Reporter` on stderr; use as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=quiet)
        self.bars: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                TimeRemainingColumn(compact=True),
                console=self.console,
            )
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars:
            self.bars.stop()

    def note(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def task(self, name: str, unit: str = "steps") -> Callback:
        """A callback for the progress of a task that is counted in `unit`."""
        return self._bar(name) if self.bars else self._lines(name, unit)

    def _bar(self, name: str) -> Callback:
        bars = self.bars
        assert bars is not None
        for finished in [task.id for task in bars.tasks if task.finished]:
            bars.remove_task(finished)
        bar = bars.add_task(name, total=None, facts="")

        def show(done: int, total: int, facts: str) -> None:
            bars.update(bar, completed=done, total=total, facts=facts)

        return show

    def _lines(self, name: str, unit: str) -> Callback:
        began = last = time.monotonic()
        before: int | None = None  # what was done at the first report: a resumed task does not begin at 0

        def show(done: int, total: int, facts: str) -> None:
            nonlocal began, last, before
            now = time.monotonic()
            if before is None:
                began, before = now, done
            if done < total and now - last < LINE_SECONDS:
                return
            last = now
            left = f"  {(now - began) / (done - before) * (total - done):.0f} s left" if before < done < total else ""
            self.note(f"{name}: {done:,}/{total:,} {unit}{f'  {facts}' if facts else ''}{left}")

        return show
