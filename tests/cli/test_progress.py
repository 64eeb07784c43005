"""Progress: a bar on a terminal, few lines elsewhere, titles never read as markup."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from recalign.cli import progress
from recalign.cli.progress import TerminalReporter
from recalign.experiment.progress import Reporter


def reporter(terminal: bool, after: float = 0.0) -> tuple[TerminalReporter, io.StringIO]:
    stream = io.StringIO()
    made = TerminalReporter(after)
    made.console = Console(file=stream, force_terminal=terminal, width=100, highlight=False)
    return made, stream


def test_without_a_terminal_the_end_is_one_line_and_long_work_reports_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    made, stream = reporter(terminal=False)
    with made:
        show = made.task("rt")
        for step in range(1, 6):
            now[0] += 20.0
            show(step, 5, "loss 0.500")
    assert stream.getvalue().splitlines() == [
        "rt: 2/5 steps  loss 0.500  60 s left",
        "rt: 4/5 steps  loss 0.500  20 s left",
        "rt: 5/5 steps  loss 0.500",
    ]


def test_time_left_is_that_of_what_is_left_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    made, stream = reporter(terminal=False)
    with made:
        show = made.task("rt")
        for step in (901, 903):
            now[0] += 40.0
            show(step, 1000, "")
    assert stream.getvalue().splitlines() == ["rt: 901/1,000 steps", "rt: 903/1,000 steps  1940 s left"]


def test_on_a_terminal_there_is_a_bar_until_the_next_task_begins() -> None:
    made, stream = reporter(terminal=True)
    with made:
        show = made.task("[bold]rt")
        for step in range(1, 5):
            show(step, 4, "loss 0.500")
        assert made.bars is not None
        made.bars.refresh()
        stopped = made.task("other")
        stopped(1, 4, "")
        assert [task.description for task in made.bars.tasks] == ["other"]
        stopped(1, 1, "")
        made.task("third")
        assert [task.description for task in made.bars.tasks] == ["third"]
    text = stream.getvalue()
    assert "[bold]rt" in text
    assert "4/4" in text
    assert "loss 0.500" in text


def test_notes_fit_the_terminal() -> None:
    words = "about 88 s on this machine, as busy as it is now (pretraining nano 67 s, once per catalogue; tuning"
    made, stream = reporter(terminal=True)
    with made:
        made.note(f"{words} 21 s)")
    assert f"{words}\n  21 s)\n" in stream.getvalue()


def test_notes_are_text() -> None:
    made, stream = reporter(terminal=False)
    with made:
        made.note("data [red]movies[/red]: preparing")
    assert stream.getvalue() == "data [red]movies[/red]: preparing\n"


def test_a_plain_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    made = Reporter()
    made.note("x")
    made.task("rt")(4, 4, "")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_counted_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    made, stream = reporter(terminal=False)
    with made:
        show = made.task("teacher", "samples")
        for done in range(1, 5):
            now[0] += 20.0
            show(done, 4, "120 tokens" if done == 4 else "")
    assert stream.getvalue().splitlines() == ["teacher: 2/4 samples  40 s left", "teacher: 4/4 samples  120 tokens"]
    made, stream = reporter(terminal=True)
    with made:
        made.task("[b]teacher", "samples")(3, 4, "")
    assert "[b]teacher" in stream.getvalue()
    assert "3/4" in stream.getvalue()


def test_short_work_says_nothing_and_longer_work_what_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    made, stream = reporter(terminal=False, after=2.0)
    with made:
        show = made.task("rt", "samples")
        for moment, done in ((0.5, 3), (1.9, 9)):
            now[0] = moment
            show(done, 9, "")
    assert stream.getvalue() == ""
    with made:
        show = made.task("rt", "samples")
        for moment, done in ((3.0, 1), (33.0, 4), (34.0, 9), (34.1, 9), (35.0, 1), (66.0, 2), (67.0, 7)):
            now[0] = moment
            show(done, 7 if moment > 34.5 else 9, "")
    assert stream.getvalue().splitlines() == [
        "rt: 4/9 samples  50 s left",
        "rt: 9/9 samples",  # once, however often it is told
        "rt: 2/7 samples  155 s left",  # a second round of the same task, with its own pace
        "rt: 7/7 samples",
    ]


def test_a_bar_of_work_that_may_be_short_appears_late_and_goes_again() -> None:
    made, stream = reporter(terminal=True, after=60.0)
    with made:
        made.task("short")(4, 4, "")
    assert stream.getvalue() == ""
    made, stream = reporter(terminal=True, after=0.05)
    with made:
        made.task("loading")  # and nothing is told for long
        deadline = time.monotonic() + 30
        while "loading" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        shown = len(stream.getvalue())
    assert shown
    assert "?" not in re.sub(r"\x1b\[\?", "", stream.getvalue()), "how much there is to do is not known yet"
    assert "loading" not in stream.getvalue()[shown:].rpartition("\x1b[2K")[2]  # the line is cleared


def test_a_reporter_ends_with_the_work_that_fails() -> None:
    made, stream = reporter(terminal=True, after=0.05)
    with pytest.raises(ValueError, match="broken"), made:
        raise ValueError("broken")
    assert made.timer is not None
    assert not made.timer.is_alive()
    time.sleep(0.1)
    assert stream.getvalue() == ""
