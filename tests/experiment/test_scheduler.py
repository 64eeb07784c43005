"""Jobs in processes: order, failures kept apart, workers that die, signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recalign.errors import Interrupted
from recalign.experiment.scheduler import JobOutcome, run_jobs
from recalign.experiment.store import CandidatesWork, Job, Store, make_job

from .conftest import alive, within

Stage = Any  # of conftest


def job(name: str, *needs: Job) -> Job:
    """A job that the stage only pretends to do."""
    work = CandidatesWork(data="data/none", split="test", negatives=1)
    return make_job("candidates", name, work, [name], needs)


def as_plan(*jobs: Job) -> dict[str, Job]:
    return {each.key: each for each in jobs}


@pytest.fixture
def pretend(stage: Stage) -> Stage:
    stage.pretend()
    return stage


def by_name(jobs: dict[str, Job], outcomes: dict[str, JobOutcome]) -> dict[str, str]:
    return {each.name: outcomes[key].status for key, each in jobs.items()}


def test_a_failure_is_listed_what_needs_it_is_skipped_and_the_rest_is_done(tmp_path: Path, pretend: Stage) -> None:
    good, bad, other = job("good"), job("bad"), job("other")
    child = job("child", bad)
    jobs = as_plan(good, bad, child, job("grandchild", child, good), other)
    pretend.tell(bad, "raise")
    store, told = Store(tmp_path / "store"), list[tuple[str, str, int, int]]()
    outcomes = run_jobs(
        jobs, store, announce=lambda each, outcome, done, total: told.append((each.name, outcome.status, done, total))
    )
    expected = {"good": "done", "bad": "failed", "child": "skipped", "grandchild": "skipped", "other": "done"}
    assert by_name(jobs, outcomes) == expected
    assert pretend.names == ["good", "bad", "other"]
    assert {(name, status) for name, status, *_ in told} == set(expected.items())
    assert [done for *_, done, _ in told] == [1, 2, 3, 4, 5]
    assert {total for *_, total in told} == {5}
    report = tmp_path / "store" / "failed" / f"{bad.key}.txt"
    assert outcomes[bad.key].reason.startswith("ValueError: told to")
    assert str(report) in outcomes[bad.key].reason
    assert "Traceback" in report.read_text()
    pretend.tell(bad, "")
    outcomes = run_jobs(jobs, store)
    assert by_name(jobs, outcomes) == {
        **dict.fromkeys(("good", "other"), "found"),
        **dict.fromkeys(("bad", "child", "grandchild"), "done"),
    }
    assert not report.exists()
    cost = store.cost(good)
    assert cost is not None
    assert cost.machine == f"{os.cpu_count()} cores, 7 GPUs", "those of the worker"


def test_a_worker_that_is_killed_fails_its_job_alone(tmp_path: Path, pretend: Stage) -> None:
    first, dies, after = job("first"), job("dies"), job("after")
    jobs = as_plan(first, dies, after)
    pretend.tell(dies, "die")
    outcomes = run_jobs(jobs, Store(tmp_path / "store"))
    assert by_name(jobs, outcomes) == {"first": "done", "dies": "failed", "after": "done"}
    assert "its process died" in outcomes[dies.key].reason
    processes = [process for _, process in pretend.begun()]
    assert processes[0] == processes[1] != processes[2]
    pretend.tell(dies, "")
    outcomes = run_jobs(jobs, Store(tmp_path / "store"))
    assert by_name(jobs, outcomes) == {"first": "found", "dies": "done", "after": "found"}


def test_a_worker_that_dies_with_nothing_to_do_is_replaced(tmp_path: Path, pretend: Stage) -> None:
    slow, quick = job("slow"), job("quick")
    last = job("last", slow, quick)
    jobs = as_plan(slow, quick, last)
    pretend.tell(slow, "wait")

    def announce(each: Job, *_: object) -> None:
        if each.name == "quick":  # its worker is idle now, until slow is done
            os.kill(int(dict(pretend.begun())["quick"]), signal.SIGKILL)
            time.sleep(0.5)
            pretend.release(slow)

    outcomes = run_jobs(jobs, Store(tmp_path / "store"), workers=2, announce=announce)
    assert by_name(jobs, outcomes) == {"slow": "done", "quick": "done", "last": "done"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_job_that_is_no_training(tmp_path: Path, pretend: Stage, number: signal.Signals) -> None:
    before, waits, after = job("before"), job("waits"), job("after")
    jobs = as_plan(before, waits, after)
    pretend.tell(waits, "wait")
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def send() -> None:
        within(60, lambda: "waits" in pretend.names)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Interrupted, match="stopped after 1 of 3 jobs") as stop:
        run_jobs(jobs, Store(tmp_path / "store"))
    sender.join()
    assert stop.value.signal_number == number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert not any(alive(int(process)) for _, process in pretend.begun())
    pretend.release(waits)
    outcomes = run_jobs(jobs, Store(tmp_path / "store"))
    assert by_name(jobs, outcomes) == {"before": "found", "waits": "done", "after": "done"}


def test_nothing_is_started_where_all_is_done(tmp_path: Path, stage: Stage) -> None:
    jobs, store = as_plan(job("one"), job("two")), Store(tmp_path / "store")
    store.prepare()
    for each in jobs.values():
        store.path(each.output).touch()
    assert by_name(jobs, run_jobs(jobs, store)) == {"one": "found", "two": "found"}
    assert stage.begun() == []
