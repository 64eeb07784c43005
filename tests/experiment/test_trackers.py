"""Each tracker, offline: what its own reader finds is what was logged."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from recalign.experiment.progress import Reporter
from recalign.experiment.trackers import PROJECT, TRACKERS
from recalign.experiment.tracking import tracked

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]  # of these packages among themselves
LOG = [{"step": 10, "loss": 3.0, "lr": 0.1}, {"step": 10, "validation": 0.5}, {"step": 20, "loss": 2.0, "lr": 0.05}]
SETTINGS = {"seed": 3, "optim": {"lr": 0.1}}
EXPECTED = {"loss": [(10, 3.0), (20, 2.0)], "lr": [(10, 0.1), (20, 0.05)], "validation": [(10, 0.5)]}
Curves = Mapping[str, list[tuple[int, float]]]


class Strict(Reporter):
    def note(self, text: str) -> None:
        raise AssertionError(text)


def track(kind: str, folder: Path) -> None:
    """Two trainings at a time, as in a run of several jobs."""
    pytest.importorskip(TRACKERS[kind][0], reason=f"tracker {kind} needs pip install 'recalign[{kind}]'")
    with tracked(Strict(), kind, "grid", folder) as reporter:
        tells = [reporter.log(f"rt seed={seed}", {**SETTINGS, "seed": seed}) for seed in (3, 4)]
        for place, entry in enumerate(LOG, start=1):
            for tell in tells:
                tell([entry], place == len(LOG))


def close(found: Curves) -> bool:
    return all(np.allclose(found[name], curve, rtol=1e-6, atol=0) for name, curve in EXPECTED.items())


def test_tensorboard(tmp_path: Path) -> None:
    track("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted((tmp_path / "tensorboard" / "grid").iterdir())
    assert [folder.name.startswith("rt-seed=3-20") for folder in folders] == [True, False]
    for folder in folders:
        read = EventAccumulator(str(folder)).Reload()
        curves = {name: [(event.step, event.value) for event in read.Scalars(name)] for name in read.Tags()["scalars"]}
        assert close(curves)
        (text,) = read.Tensors("settings/text_summary")
        assert b'"lr": 0.1' in text.tensor_proto.string_val[0]


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    track("mlflow", tmp_path)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name(PROJECT)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["rt seed=3", "rt seed=4"]
    run = runs["rt seed=3"]
    assert (run.info.status, run.data.tags["group"]) == ("FINISHED", "grid")
    assert run.data.params == {"seed": "3", "optim.lr": "0.1"}
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in EXPECTED}
    assert close({name: [(entry.step, entry.value) for entry in history] for name, history in histories.items()})


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    track("trackio", tmp_path)
    assert capsys.readouterr().out == ""
    (database,) = tmp_path.glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    curves: dict[str, list[tuple[int, float]]] = {}
    for run, step, values in rows:
        for name, value in json.loads(values).items():
            if run == "rt seed=3":
                curves.setdefault(name, []).append((step, value))
    assert close(curves)
    assert {run for run, _, _ in rows} == {"rt seed=3", "rt seed=4"}


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    track("wandb", tmp_path)
    words = (b"validation", b"loss", b"rt seed=3", b"rt seed=4", b"grid")
    deadline = time.monotonic() + 20
    while True:  # its own process writes the files, soon after the run has ended
        runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
        content = b"".join(path.read_bytes() for path in runs)
        if all(word in content for word in words) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert len(runs) == 2
    assert [word for word in words if word not in content] == []
    assert str(tmp_path).encode() not in content
    assert sys.prefix.encode() not in content
