"""An experiment that is killed, or of which a run fails, and is run again: as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recalign.evaluation.document import Row
from recalign.experiment.run import ExperimentRun, run_experiment
from recalign.experiment.store import Job, Store

from .conftest import alive, within

Done = Any  # of conftest
Stage = Any
Recorder = Any

# The program as a user starts it, its workers staged.
PROGRAM = """
import sys

import staged_work
from recalign.experiment import scheduler

if __name__ == "__main__":
    scheduler._start = staged_work.start
    from recalign.cli.main import run

    run()
"""


def job_of(done: Done, name: str) -> Job:
    (job,) = [job for job in done.plan.jobs.values() if job.name == name]
    return job


def figures(run: ExperimentRun) -> dict[str, Any]:
    """What results say, without when, how, on what and in what time it was made."""
    left_out = {"finished", "commands", "cpu_hours", "machine"}
    return json.loads(run.results.model_dump_json(exclude=left_out))  # type: ignore[no-any-return]


def outputs(store: Path, done: Done) -> dict[str, bytes]:
    """Bytes of every score file."""
    kept = [job for job in done.plan.jobs.values() if job.work.kind == "score"]
    return {job.name: (store / job.output).read_bytes() for job in kept}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_and_run_again_with_two_workers_it_is_as_if_undisturbed(
    tiny: Done, tmp_path: Path, stage: Stage, write: Callable[..., Path]
) -> None:
    held = job_of(tiny, "score GRU4Rec movie 8-shot seed 0 on movie")
    stage.tell(held, "wait")
    stage.pretend(tiny.store)
    (stage.folder / "program.py").write_text(PROGRAM)
    file, store, output = write(), tmp_path / "store", tmp_path / "out"
    command = [sys.executable, str(stage.folder / "program.py"), "run", file, "-o", output, "--store", store]
    parent = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert within(120, lambda: held.name in stage.names or parent.poll() is not None)
        assert parent.poll() is None, parent.communicate()
        worker = int(str(dict(stage.begun())[held.name]))
        assert alive(worker)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.communicate()
    assert within(5, lambda: not alive(worker)), "a worker does not outlive its parent"
    assert not (output / "results.json").exists()
    before = [name for name in stage.names if name != held.name]
    assert before == ["movie", "GRU4Rec movie 8-shot seed 0"]
    stage.release(held)
    stage.do()
    again = run_experiment(file, output, store, jobs=2)
    assert sorted(stage.names) == sorted([held.name, *(job.name for job in tiny.plan.jobs.values())]), "the rest once"
    statuses = {tiny.plan.jobs[key].name: outcome.status for key, outcome in again.outcomes.items()}
    assert [name for name, status in statuses.items() if status == "found"] == before
    assert set(statuses.values()) == {"found", "done"}
    assert figures(again) == figures(tiny.run)
    assert outputs(store, tiny) == outputs(tiny.store, tiny)


def row_of(run: ExperimentRun, shots: int = 8) -> Row:
    (row,) = [row for row in run.results.panels[0].rows if (row.model, row.shots) == ("GRU4Rec", shots)]
    return row


def test_a_failed_run_is_listed_and_its_row_partial_until_it_is_run_again(
    tiny: Done, tmp_path: Path, stage: Stage, write: Callable[..., Path], recorder: Recorder
) -> None:
    bad = job_of(tiny, "GRU4Rec movie 8-shot seed 0")
    stage.tell(bad, "raise")
    stage.pretend(tiny.store)
    file, store, output = write(), tmp_path / "store", tmp_path / "out"
    run = run_experiment(file, output, store, reporter=recorder)
    assert run.failures == 2
    assert [(each.job, each.status) for each in run.results.missing] == [
        ("GRU4Rec movie 8-shot seed 0", "failed"),
        ("score GRU4Rec movie 8-shot seed 0 on movie", "skipped"),
    ]
    assert run.results.missing[0].reason.startswith("ValueError: told to")
    assert any("GRU4Rec movie 8-shot seed 0: failed: ValueError" in note for note in recorder.notes)
    row = row_of(run)
    assert (row.status, row.reason, row.seeds) == ("partial", "1 of 2 seeds are missing", (1,))
    assert row.mean("auc") is not None
    assert (row.metrics["auc"].n, row.metrics["auc"].sd) == (1, None)
    assert "auc" in row.verdicts
    stage.tell(bad, "")
    count = len(stage.names)
    again = run_experiment(file, output, store)
    assert stage.names[count:] == [bad.name, "score GRU4Rec movie 8-shot seed 0 on movie"]
    assert again.failures == 0
    assert again.results.missing == ()
    assert figures(again) == figures(tiny.run)
    assert not list((store / "failed").iterdir())


def test_a_panel_whose_data_cannot_be_prepared_is_left_out_and_told(
    tiny: Done, tmp_path: Path, stage: Stage, write: Callable[..., Path]
) -> None:
    stage.pretend()
    stage.tell(job_of(tiny, "movie"), "raise")
    run = run_experiment(write(), tmp_path / "out", tmp_path / "store")
    assert run.results.panels == ()
    assert stage.names == ["movie"]
    assert [each.status for each in run.results.missing] == [
        "failed",
        *["skipped"] * (len(tiny.plan.jobs) - 1),
        "skipped",
    ]
    assert run.results.missing[-1].job == "panel movie"
    assert Store(tmp_path / "store").costs_by_shape() == {}
