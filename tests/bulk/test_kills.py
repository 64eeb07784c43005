"""Workers that die: the output is that of a worker who was left alone, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recalign.artifacts import io as disk
from recalign.artifacts.storage import Storage

from .conftest import Score, all_scores, contents, some_events


def worker(table: Path, output: Path, shards: int, pause: float) -> subprocess.Popen[bytes]:
    arguments = [table, output, shards, pause]
    script = Path(__file__).parent / "killed.py"
    return subprocess.Popen([sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE)


def kill_at(process: subprocess.Popen[bytes], reports: int) -> bool:
    """Kill a worker after so many reports of progress. Whether it was still alive."""
    assert process.stdout is not None
    with process:
        for _ in range(reports):
            if not process.stdout.readline():
                break
        process.kill()
    return process.returncode != 0


def test_killed_and_doubled_workers_leave_each_user_exactly_once(score: Score, tmp_path: Path) -> None:
    table = tmp_path / "events.parquet"
    some_events(400).write_parquet(table)
    score(table, tmp_path / "whole", shards=10, k=3)
    pair = [worker(table, tmp_path / "out", 10, 0.01) for _ in range(2)]
    assert [kill_at(process, reports) for process, reports in zip(pair, (5, 9), strict=True)] == [True, True]
    made = len(list((tmp_path / "out").glob("part-*.json")))
    assert 0 < made < 10
    score(table, tmp_path / "out", shards=10, k=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert all_scores(tmp_path / "out").group_by("user_id").len()["len"].to_list() == [3] * 400
    assert not list((tmp_path / "out").glob(".*.claim"))


class _Kill(BaseException):
    """Not caught by anything that handles errors."""


class _Counted(Storage):
    def __init__(self, calls: int) -> None:
        self.left = calls

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Kill

    def open(self, path: Path, flags: int) -> int:
        self.count()
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes) -> None:
        self.count()
        super().write(descriptor, data[: len(data) // 2])  # half of it is there when the next call dies
        self.count()
        os.write(descriptor, data[len(data) // 2 :])


def test_a_death_at_any_write_leaves_nothing_that_a_rerun_does_not_repair(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "events.parquet"
    some_events(4).write_parquet(table)
    score(table, tmp_path / "whole", shards=1)
    whole = contents(tmp_path / "whole")
    died = 0
    for calls in range(200):
        output = tmp_path / f"out-{calls}"
        counted = _Counted(calls)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "open", counted.open)
            patch.setattr(disk, "write", counted.write)
            try:
                score(table, output, shards=1)
            except _Kill:
                died += 1
            else:
                break
        there = contents(output)
        assert there.items() <= whole.items(), calls
        score(table, output, shards=1)
        assert contents(output) == whole, calls
    assert died > 15


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_users_and_five_kills(score: Score, tmp_path: Path) -> None:
    table = tmp_path / "events.parquet"
    some_events(100_000).write_parquet(table)
    began = time.monotonic()
    score(table, tmp_path / "whole", shards=20, k=3)
    seconds = time.monotonic() - began
    draw, kills = np.random.default_rng(0), 0
    while kills < 5:
        process = worker(table, tmp_path / "out", 20, 0)
        assert process.stdout is not None
        assert process.stdout.readline()  # it has read its input
        time.sleep(float(draw.uniform(0, seconds / 8)))
        kills += kill_at(process, 0)
    assert len(list((tmp_path / "out").glob("part-*.json"))) < 20
    score(table, tmp_path / "out", shards=20, k=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert json.loads((tmp_path / "out" / "scores.json").read_bytes())["users"] == 100_000
    assert all_scores(tmp_path / "out").group_by("user_id").len()["len"].unique().to_list() == [3]
