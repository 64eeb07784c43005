"""Progress between processes: reports reach the reporter, are few, and never hold work up."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from recalign.experiment import progress
from recalign.experiment.progress import (
    Log,
    LogEntry,
    PipeReader,
    PipeReporter,
    Reporter,
    TaskReport,
    of_steps,
    of_training,
)
from recalign.tuning.config import stage_config
from recalign.tuning.loop import StepReport


@dataclass
class Listener(Reporter):
    told: list[object] = field(default_factory=list)
    logs: list[object] = field(default_factory=list)
    entries: list[LogEntry] = field(default_factory=list)
    ended: int = 0

    def note(self, text: str) -> None:
        self.told.append(text)

    def task(self, name: str, unit: str = "steps") -> Callable[[int, int, str], None]:
        self.told.append((name, unit))
        return lambda done, total, facts: self.told.append((done, total, facts))

    def log(self, name: str, settings: Mapping[str, object]) -> Log:
        self.logs.append((name, settings))

        def tell(entries: Sequence[LogEntry], ended: bool) -> None:
            self.entries += entries
            self.ended += ended

        return tell


@pytest.fixture
def ends() -> tuple[PipeReporter, PipeReader, Listener]:
    reading, writing = multiprocessing.Pipe(duplex=False)
    listener = Listener()
    return PipeReporter(writing), PipeReader(reading, listener), listener


def test_notes_and_the_ends_of_tasks_arrive_in_order(ends: tuple[PipeReporter, PipeReader, Listener]) -> None:
    writer, reader, listener = ends
    writer.note("first")
    show = writer.task("rt", "samples")
    for done in range(1, 101):
        show(done, 100, f"loss {done}")
    reader.read()
    assert listener.told[:2] == ["first", ("rt", "samples")]
    assert listener.told[2] == (1, 100, "loss 1")
    assert listener.told[-1] == (100, 100, "loss 100")
    assert len(listener.told) < 20, "a report now and then, not of every step"


def test_a_task_that_stopped_early_is_finished_where_it_stopped(
    ends: tuple[PipeReporter, PipeReader, Listener],
) -> None:
    writer, reader, listener = ends
    writer.task("rt")(3, 9, "x")
    writer.task("done")(9, 9, "y")
    reader.end_tasks()
    assert listener.told == [("rt", "steps"), (3, 9, "x"), ("done", "steps"), (9, 9, "y"), (3, 3, "x")]
    writer.task("rt")(1, 9, "z")
    reader.read()
    assert listener.told[-2:] == [("rt", "steps"), (1, 9, "z")], "another job's task of that name is another task"


def test_work_goes_on_where_nobody_reads(
    ends: tuple[PipeReporter, PipeReader, Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader, listener = ends
    monkeypatch.setattr(progress, "_TELL_SECONDS", 0.0)
    show = writer.task("rt")
    for step in range(20_000):
        show(step, 50_000, "x" * 80)
    reader.read()
    assert 100 < len(listener.told) < 20_000
    show(50_000, 50_000, "")
    reader.read()
    assert listener.told[-1] == (50_000, 50_000, "")


def test_steps_of_training_in_words() -> None:
    told: list[tuple[int, int, str]] = []
    of_steps(lambda done, total, facts: told.append((done, total, facts)))(
        StepReport(step=2, steps=4, loss=0.5, samples=20, seconds=4.0)
    )
    assert told == [(2, 4, "loss 0.500  5 samples/s")]


def test_a_report_is_small_enough_for_one_write() -> None:
    import pickle

    from recalign.experiment.progress import _PART, LogReport

    assert len(pickle.dumps(TaskReport("n" * 300, "steps", 10**9, 10**9, "f" * 300))) < 4096
    entries = tuple({"step": 10**6 + place, "loss": place / 7, "lr": 1e-4 / 3} for place in range(_PART))
    settings = stage_config({"kind": "cot"}, "x").model_dump(mode="json")
    assert len(pickle.dumps(LogReport("n" * 300, settings, entries, True))) < 4096


def test_a_log_arrives_whole_however_late_it_is_read(ends: tuple[PipeReporter, PipeReader, Listener]) -> None:
    writer, reader, listener = ends
    tell = writer.log("rt", {"seed": 3})
    for step in range(10, 20_000, 10):
        tell([{"step": step, "loss": 1 / step}], False)  # the pipe is soon full
    reader.read()
    assert 100 < len(listener.entries) < 1_999
    for step in range(20_000, 30_000, 10):
        tell([{"step": step, "loss": 1 / step}], step == 29_990)
        reader.read()
    assert [entry["step"] for entry in listener.entries] == list(range(10, 30_000, 10))
    assert listener.logs == [("rt", {"seed": 3})]
    assert listener.ended == 1


def test_a_training_tells_what_is_new_in_its_log_and_first_what_a_checkpoint_held() -> None:
    listener = Listener()
    tell = of_training(listener, "rt", {"seed": 3})
    log: list[dict[str, float]] = [{"step": 10, "loss": 3.0}]
    for step in range(11, 22):
        if step == 20:
            log += [{"step": 20, "loss": 2.0}, {"step": 20, "validation": 0.6}]
        if step == 21:
            log.append({"step": 21, "loss": 1.0})
        tell(StepReport(step, 21, 0.5, 1, 1.0, log))
    assert listener.entries == log
    assert listener.ended == 1
    assert sum(isinstance(told, tuple) and told[:1] == (21,) for told in listener.told) == 1
