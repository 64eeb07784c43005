"""``--tracker``: what a tracker shows of a training is what stands in its metrics, and the results do not change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recalign.experiment import tracking
from recalign.experiment.trackers import Training

Cli = Callable[..., tuple[int, str, str]]


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self, training: Training) -> None:
        self.training, self.entries, self.closed = training, list[dict[str, float]](), False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.entries.append({"step": step, **values})

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    made: list[Kept] = []

    def opened(training: Training) -> Kept:
        made.append(Kept(training))
        return made[-1]

    monkeypatch.setattr(tracking, "TRACKERS", {"tensorboard": ("json", opened)})
    return made


def metrics(model: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]


def test_tune(cli: Cli, workshop: Path, tmp_path: Path, kept: list[Kept]) -> None:
    steps = ("max_steps=11", "batch_size=2", "precision=fp32", "eval_steps=10", "max_eval_samples=20", "max_length=200")
    command = ("tune", "--data", workshop / "data", "--backbone", workshop / "backbone", "--selection", "source")
    more = [word for step in steps for word in ("--set", step)]
    code, _, err = cli(*command, "--output", tmp_path / "model", "--seed", 3, *more, "--tracker", "tensorboard")
    assert code == 0, err
    (made,) = kept
    assert made.entries == metrics(tmp_path / "model")
    assert [sorted(entry) for entry in made.entries] == [["loss", "lr", "step"], ["step", "validation"]] * 2
    assert made.closed
    assert (made.training.name, made.training.group, made.training.folder) == ("model", "tune", tmp_path / "tracking")
    assert made.training.settings["seed"] == 3


FILE = """
name = "two"
title = "Two"
data.only = {{ dataset = "synthetic", users = 14, items = 40, ratings_per_user = 12, max_history = 4 }}
backbones.b = {{ name = "{backbone}", device = "cpu" }}
stages = [{{ name = "rt", data = ["only"], max_steps = 11, batch_size = 2, precision = "fp32", seeds = [1, 2] }}]
"""


@pytest.mark.slow
def test_run(cli: Cli, workshop: Path, tmp_path: Path, kept: list[Kept]) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(FILE.format(backbone=workshop / "backbone"))
    code, _, err = cli("run", file, "--output", tmp_path / "runs" / "grid", "--tracker", "tensorboard")
    assert code == 0, err
    assert len(kept) == 2
    assert {made.training.group for made in kept} == {"grid"}
    assert sorted(made.training.settings["seed"] for made in kept) == [1, 2]  # type: ignore[type-var]
    models = (tmp_path / "runs" / "grid" / "models").iterdir()
    assert sorted(map(str, (made.entries for made in kept))) == sorted(str(metrics(model)) for model in models)
    assert all(made.closed for made in kept)
