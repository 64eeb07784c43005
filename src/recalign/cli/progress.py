"""Progress on the terminal: a bar with facts and time left; lines where there is no terminal."""

from __future__ import annotations

import time
from threading import Timer
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from recalign.experiment.progress import Progress as Callback
from recalign.experiment.progress import Reporter
from recalign.terminal import wrapped

LINE_SECONDS: Final = 30.0
FRAME_SECONDS: Final = 0.05
SHORT_SECONDS: Final = 2.0  # work of commands that answer; where it takes no longer, a bar would only flash by


class _Count(MofNCompleteColumn):
    """How much of a task is done, once that is known: not ``0/?``."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class TerminalReporter(Reporter):
    """Shows progress on stderr; use as a context manager."""

    def __init__(self, after: float = 0.0) -> None:
        """Show nothing of the progress in the first `after` seconds, and leave no bar behind where that is not 0."""
        self.console = Console(stderr=True, highlight=False)
        self.bars: Progress | None = None
        self.after = after
        self.began = time.monotonic()
        self.timer: Timer | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=16),
                _Count(),
                TextColumn("{task.fields[facts]}", markup=False),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=self.after > 0,
            )
            if not self.after:
                self.bars.start()
                return self
            # A timer shows them, as the work may have nothing to tell for long: a model is loaded.
            self.timer = Timer(self.after, self.bars.start)
            self.timer.start()
        return self

    def __exit__(self, *ended: object) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer.join()  # it may be showing them at this moment
        if self.bars and self.bars.live.is_started:
            self.bars.stop()

    def note(self, text: str) -> None:
        """Print one line; on a terminal as many as it takes, broken between words."""
        shown = wrapped(text, self.console.width) if self.console.is_terminal else text
        self.console.print(shown, markup=False, soft_wrap=True)

    def task(self, name: str, unit: str = "steps") -> Callback:
        """A callback for the progress of a task that is counted in `unit`."""
        return self._bar(name) if self.bars else self._lines(name, unit)

    def _bar(self, name: str) -> Callback:
        bars = self.bars
        assert bars is not None
        for finished in [task.id for task in bars.tasks if task.finished]:
            bars.remove_task(finished)
        bar = bars.add_task(name, total=None, facts="")
        last = float("-inf")

        def show(done: int, total: int, facts: str) -> None:
            nonlocal last
            if done < total and time.monotonic() - last < FRAME_SECONDS:
                return  # nobody could see it, and work that tells of each of a million rows would be slow
            last = time.monotonic()
            bars.update(bar, completed=done, total=total, facts=facts)

        return show

    def _lines(self, name: str, unit: str) -> Callback:
        began = last = time.monotonic()
        before: int | None = None  # what was done at the first report: a resumed task does not begin at 0
        reached, told = 0, ""

        def show(done: int, total: int, facts: str) -> None:
            nonlocal began, last, before, reached, told
            now = time.monotonic()
            if before is None or done < reached:  # less than before: another round of the same task
                began, before = now, done
            reached = done
            if now - self.began < self.after or (done < total and now - last < LINE_SECONDS):
                return
            last = now
            left = f"  {(now - began) / (done - before) * (total - done):.0f} s left" if before < done < total else ""
            line = f"{name}: {done:,}/{total:,} {unit}{f'  {facts}' if facts else ''}{left}"
            if line != told:
                self.note(line)
            told = line

        return show
