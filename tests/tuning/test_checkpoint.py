"""Checkpoints: exact round trip, the newest whole one, another identity refused, nothing lost to a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from recalign.artifacts import storage
from recalign.errors import ArtifactError
from recalign.tuning.checkpoint import CheckpointStore, LoopFacts, LoopState, restore_rng, rng_state

IDENTITY: dict[str, Any] = {"stage": {"optim": {"lr": 1}, "betas": (0.9, 0.95)}, "parents": {"data-0": "abc"}}


def state(step: int, **extra: Any) -> LoopState:
    tensors = {name: torch.full((4, 3), float(step)) + place for place, name in enumerate(("a", "b"))}
    facts = LoopFacts(best_value=0.1 + step / 3, best_step=step, log=[{"step": step, "loss": 1 / 3}])
    return LoopState(step, tensors, {"a/exp_avg": tensors["a"] * 2}, rng_state(), facts=facts, **extra)


def saved(directory: Path, *steps: int, **extra: Any) -> CheckpointStore:
    store = CheckpointStore(directory, IDENTITY)
    for step in steps:
        store.save(state(step, **extra))
    return store


def newest(directory: Path) -> Path:
    return max(directory.glob("step-*"))


@pytest.mark.parametrize("averaged", [False, True])
def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path, averaged: bool) -> None:
    extra = {"ema": {"a": torch.rand(2)}, "best": {"b": torch.rand(3)}} if averaged else {}
    store = saved(tmp_path / "c", 3, **extra)
    drawn = torch.rand(5)
    found = store.load_latest()
    assert found is not None
    expected = state(3, **extra)
    assert (found.step, found.facts) == (3, expected.facts)
    assert str(found.facts) == str(expected.facts), "the order of keys too: the log becomes a file of the artefact"
    for name in ("weights", "optimizer", "ema", "best"):
        mine, theirs = getattr(expected, name), getattr(found, name)
        assert (mine is None) == (theirs is None)
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in (mine or {}).items())
    restore_rng(found.rng)
    assert torch.equal(torch.rand(5), drawn)


def test_two_are_kept_and_none_is_left_after_clear(tmp_path: Path) -> None:
    store = saved(tmp_path / "c", 1, 2, 3)
    assert [path.name for path in sorted((tmp_path / "c").glob("step-*"))] == ["step-00000002", "step-00000003"]
    store.clear()
    assert list(tmp_path.iterdir()) == []
    assert store.load_latest() is None
    store.clear()


def test_the_same_identity_in_other_types_is_the_same(tmp_path: Path) -> None:
    saved(tmp_path / "c", 1)
    again = CheckpointStore(tmp_path / "c", {**IDENTITY, "stage": {"betas": [0.9, 0.95], "optim": {"lr": 1}}})
    assert again.load_latest() is not None


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({**IDENTITY, "stage": {"optim": {"lr": 2}, "betas": [0.9, 0.95]}}, r"stage\.optim\.lr: 1 -> 2\)"),
        ({**IDENTITY, "parents": {"data-0": "xyz"}}, r"parents\.data-0: abc -> xyz\)"),
        ({**IDENTITY, "parents": {"data-0": "abc", "parent": "p"}}, r"parents\.parent: None -> p\)"),
    ],
)
def test_another_identity_is_refused_with_the_difference(
    tmp_path: Path, changed: dict[str, Any], difference: str
) -> None:
    saved(tmp_path / "c", 1)
    with pytest.raises(ArtifactError, match=f"{difference}.*--restart") as caught:
        CheckpointStore(tmp_path / "c", changed).load_latest()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["optimizer.safetensors", "rng.safetensors", "weights.safetensors", "state.json"])
def test_a_checkpoint_with_a_part_missing_is_not_used(tmp_path: Path, name: str) -> None:
    store = saved(tmp_path / "c", 1, 2)
    for directory in (tmp_path / "c").glob("step-*"):
        (directory / name).unlink()
    with pytest.raises(ArtifactError, match="none of them whole"):
        store.load_latest()


@pytest.mark.parametrize("damage", ["flip", "cut", "zero", "manifest"])
@pytest.mark.parametrize("name", ["weights.safetensors", "state.json"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    store = saved(tmp_path / "c", 4, 5)
    path = newest(tmp_path / "c") / ("manifest.json" if damage == "manifest" else name)
    blob = bytearray(path.read_bytes())
    if damage == "flip":
        blob[-3] ^= 4
    elif damage == "zero":
        blob[-8:] = bytes(8)
    else:
        del blob[len(blob) // 2 :]
    path.write_bytes(bytes(blob))
    found = store.load_latest()
    assert found is not None
    assert found.step == 4
    assert path.name in caplog.text


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from recalign.artifacts import storage
from recalign.tuning.checkpoint import CheckpointStore, LoopState

directory = Path(sys.argv[1])

def save(step):
    tensor = torch.full((4, 3), float(step))
    CheckpointStore(directory, {}).save(LoopState(step, {"a": tensor}, {"a/m": tensor}, {"cpu": torch.get_rng_state()}))

def attempt(limit):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = 0
    plain = storage.io.fsync
    def fsync(*arguments):
        nonlocal calls
        calls += 1
        if calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments)
    storage.io.fsync = fsync
    save(2)
    os._exit(0)

killed = 0
for limit in range(1, 100):
    save(1)
    code = attempt(limit)
    found = CheckpointStore(directory, {}).load_latest()
    assert found.step in ((1, 2) if code else (2,)), (limit, found.step)
    assert bool((found.weights["a"] == found.step).all())
    save(3)
    left = sorted(path.name for path in directory.iterdir() if "staging" in path.name and "00000003" in path.name)
    assert not left, left
    CheckpointStore(directory, {}).clear()
    if not code:
        break
    killed += 1
assert killed >= 5, killed
"""


def test_kill_9_at_any_fsync_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = saved(tmp_path / "c", 1)

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.io, "fsync", full)
    with pytest.raises(ArtifactError, match="no space left"):
        store.save(state(2))
    monkeypatch.undo()
    found = store.load_latest()
    assert found is not None
    assert found.step == 1
