"""A tiny backbone and small prepared data, made once, for tests of stages. Tests must not change them."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from recalign.data.samples import SampleSet
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.models.config import BackboneConfig
from recalign.testing.tiny import make_tiny
from recalign.tuning.config import StageConfig, stage_config
from recalign.tuning.joining import Place, joined
from recalign.tuning.provenance import StageInputs
from recalign.tuning.world import World

Work = Callable[[World], object]
Outcome = tuple[str, Any]  # "returned" and the value, or the name of an exception and its text


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="package")
def source(folder: Path) -> SampleSet:
    return synthetic(folder / "source", "movies", 1)


@pytest.fixture(scope="package")
def target(folder: Path) -> SampleSet:
    return synthetic(folder / "target", "books", 2)


def synthetic(directory: Path, domain: str, seed: int) -> SampleSet:
    settings = {"catalogue": domain, "seed": seed, "users": 14, "items": 40, "ratings_per_user": 12}
    prepare(PrepareConfig.build(dataset="synthetic", output=directory, max_history=4, **settings))
    return SampleSet.load(directory)


@pytest.fixture(scope="package")
def backbone(folder: Path) -> BackboneConfig:
    return BackboneConfig(name=str(make_tiny(folder / "llama", "llama")), dtype="float32", device="cpu")


@pytest.fixture(scope="package")
def stage() -> Callable[..., StageConfig]:
    """Settings of a stage of three small steps; changes are given as keywords."""

    def build(**changes: Any) -> StageConfig:
        base: dict[str, Any] = {
            "max_steps": 3,
            "batch_size": 6,
            "precision": "fp32",
            "max_length": 384,
            "optim": {"lr": 1e-2, "warmup_steps": 1},
        }
        own = {"rec": {"eval_steps": 2, "max_eval_samples": 30}, "instruction": {"instructions": 30}, "cot": {}}
        return stage_config({**base, **own[changes.get("kind", "rec")], **changes}, "stage")

    return build


@pytest.fixture(scope="package")
def inputs(
    source: SampleSet, backbone: BackboneConfig, stage: Callable[..., StageConfig]
) -> Callable[..., StageInputs]:
    """Inputs of a stage on the source; `data`, `parent`, `validation` and `unseen` go there, the rest to the stage."""

    def build(**changes: Any) -> StageInputs:
        own = {name: changes.pop(name) for name in ("data", "parent", "validation", "unseen") if name in changes}
        return StageInputs(config=stage(**changes), backbone=backbone, **{"data": [source], **own})

    return build


def _answer(place: Place, work: Work, shard: bool, pipe: Connection) -> None:
    try:
        with joined(place, shard=shard) as world:
            pipe.send(("returned", work(world)))
    except Exception as error:
        pipe.send((type(error).__name__, str(error)))


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Outcome]]:
    """``together(size, work)``: what `work` comes to in each process.

    They are forks, which need not load torch; they must leave polars alone, whose threads no fork has.
    """
    if torch.cuda.is_available():
        pytest.skip("forked processes cannot use a GPU of their parent")
    meetings, context = tmp_path_factory.mktemp("meetings"), get_context("fork")

    def call(size: int, work: Work, *, shard: bool = False) -> list[Outcome]:
        ends, meeting = [], meetings / f"{time.monotonic_ns()}"
        for rank in range(size):
            receiving, sending = context.Pipe(duplex=False)
            place = Place(rank, size, rank, size, meeting)
            process = context.Process(target=_answer, args=(place, work, shard, sending))
            process.start()
            sending.close()
            ends.append((process, receiving))
        outcomes: list[Outcome] = []
        for process, receiving in ends:
            try:
                outcomes.append(receiving.recv() if receiving.poll(100) else ("hangs", None))
            except EOFError:
                outcomes.append(("died", None))
            process.kill()
            process.join()
        return outcomes

    return call


@pytest.fixture(scope="session")
def returned(together: Callable[..., list[Outcome]]) -> Callable[..., list[Any]]:
    """``returned(size, work)``: the value of `work` in each process, which all must return one."""

    def call(size: int, work: Work, *, shard: bool = False) -> list[Any]:
        outcomes = together(size, work, shard=shard)
        assert [how for how, _ in outcomes] == ["returned"] * size, outcomes
        return [value for _, value in outcomes]

    return call
