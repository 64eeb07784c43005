"""The store: what is done, what it cost, and one run at a time, whatever a crash left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.experiment.store import FOLDERS, CandidatesWork, Cost, Job, NanoWork, Store, make_job
from recalign.models.config import BackboneConfig, NanoConfig


def job(name: str = "x", seed: int = 0) -> Job:
    work = CandidatesWork(data="data/none", split="test", negatives=1)
    return make_job("candidates", name, work, [name, {"seed": seed}], ())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    found.prepare()
    return found


def test_folders_are_made_once(store: Store) -> None:
    store.prepare()
    assert sorted(path.name for path in store.root.iterdir()) == sorted(FOLDERS)


def test_costs_are_kept_and_averaged_over_a_shape(store: Store) -> None:
    first, second, other = job(), job(seed=1), job("y")
    assert store.cost(first) is None
    store.record(first, Cost(9.0, 2.0))
    store.record(second, Cost(9.0, 4.0))
    store.record(other, Cost(9.0, 8.0))
    assert store.cost(first) == Cost(9.0, 2.0)
    assert store.costs_by_shape() == {first.shape: 3.0, other.shape: 8.0}
    store.record(second, Cost(9.0, 4.0, "16 cores, 1 GPUs"))
    assert store.costs_by_shape("") == {first.shape: 2.0, other.shape: 8.0}, "nobody knows where those ran"
    assert store.costs_by_shape() == {first.shape: 3.0, other.shape: 8.0}
    assert store.costs_by_shape("16 cores, 1 GPUs") == {first.shape: 4.0}
    assert first.shape == second.shape


@pytest.mark.parametrize("left", [b"", b"{", b"[1]", b"\xff"])
def test_a_record_that_a_crash_cut_short_is_no_record(store: Store, left: bytes) -> None:
    (store.root / "log" / f"{job().key}.json").write_bytes(left)
    assert store.cost(job()) is None
    assert store.costs_by_shape() == {}


def test_a_failure_is_kept_until_the_job_is_done(store: Store) -> None:
    path = store.record_failure(job("with \x1b"), "Traceback")
    assert path.read_text() == "with \x1b\n\nTraceback\n"
    store.record(job("with \x1b"), Cost(1, 1))
    assert not path.exists()


def test_a_built_backbone_is_done_while_the_cache_holds_it(store: Store, tmp_path: Path) -> None:
    work = NanoWork(backbone=BackboneConfig(name="nano"), nano=NanoConfig(), sources=(), targets=())
    nano = make_job("backbones", "nano", work, [], (), suffix=".json")
    assert not store.is_done(nano)
    (tmp_path / "built").mkdir()
    store.path(nano.output).write_text(json.dumps({"directory": str(tmp_path / "built")}))
    assert store.is_done(nano)
    (tmp_path / "built").rmdir()
    assert not store.is_done(nano)
    store.path(nano.output).write_text("{")
    assert not store.is_done(nano)


def test_one_run_at_a_time_and_a_killed_one_holds_nothing(store: Store) -> None:
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True)"
    code += "; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(store.root / ".lock")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ConfigError, match="another run at work in it"), store.locked():
            pass
        other.kill()
    with store.locked():
        pass
    with store.locked():
        pass
