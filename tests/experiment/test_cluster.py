"""A run's jobs as tasks of a Ray cluster: the bytes of a run in processes of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import MANIFEST_NAME, read_manifest
from recalign.engines import Engine
from recalign.experiment.run import run_experiment

Done = Any  # of conftest

pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(find_spec("ray") is None, reason="no Ray: pip install 'recalign[ray]'"),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]


def files(store: Path) -> dict[str, bytes | str]:
    """What the jobs made: the bytes of each file; of manifests, which tell times as well, the fingerprint."""
    paths = [path for path in store.rglob("*") if path.is_file() and path.relative_to(store).parts[0] != "log"]
    return {
        str(path.relative_to(store)): read_manifest(path.parent).fingerprint
        if path.name == MANIFEST_NAME
        else path.read_bytes()
        for path in paths
    }


def test_a_cluster_leaves_the_bytes_of_a_local_run(
    tiny: Done, tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = signal.getsignal(signal.SIGTERM)
    run = run_experiment(write(), tmp_path / "out", engine=Engine("ray"))
    assert signal.getsignal(signal.SIGTERM) == before
    assert (run.failures, {outcome.status for outcome in run.outcomes.values()}) == (0, {"done"})
    assert run.results.panels == tiny.run.results.panels
    mine, theirs = files(tmp_path / "store"), files(tiny.store)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
