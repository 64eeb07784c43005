"""A model divided among processes is tuned, saved and resumed as a whole one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recalign.errors import ConfigError, ModelError
from recalign.models.adapter import attach, save_adapter
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig, LoraSettings
from recalign.models.forward import logits_at, supports_fusion
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import grow_tree, pack
from recalign.testing.tiny import make_tiny
from recalign.tuning.checkpoint import CheckpointStore
from recalign.tuning.config import OptimConfig, TrainingConfig
from recalign.tuning.joining import joined
from recalign.tuning.loop import StepReport, Validation, train
from recalign.tuning.sharding import ShardedGroup
from recalign.tuning.sources import PromptSource
from recalign.tuning.world import World

Together = Callable[..., list[tuple[str, Any]]]
Returned = Callable[..., list[Any]]


class Stop(Exception):
    """Stands for a crash of all processes."""


def prompt(index: int) -> EncodedPrompt:
    ids = (1, 2, *range(3, 6 + index % 6), 20 + index % 7, 30 + index % 2)
    return EncodedPrompt(ids=ids, labels=(*(IGNORE,) * (len(ids) - 1), ids[-1]), answer_start=len(ids) - 1)


def losses(world: World, backbone: Path, mode: Any, folder: Path, *, steps: int = 8, stop: int = 0) -> list[float]:
    """Of each step; checkpoints go to `folder`, and what is kept becomes an adapter there."""
    loaded = load_backbone(world.loading(BackboneConfig(name=str(backbone), dtype="float32", device="cpu")))
    model = attach(loaded, mode, LoraSettings(dropout=0.0, targets=("q_proj", "v_proj")), None)
    world.divide(model, "cpu")
    assert supports_fusion(model) == (world.size == 1 and mode == "full")
    forest = pack([grow_tree([prompt(3)])])
    seen: list[float] = []

    def progress(report: StepReport) -> None:
        seen.append(report.loss)
        if report.step == stop:
            raise Stop

    @torch.inference_mode()
    def value() -> float:
        model.eval()
        return -float(logits_at(model, forest, forest.answers)[0, 7])

    optim = OptimConfig(lr=1e-2, warmup_steps=1, ema=0.5, weight_decay=0.1, clip_norm=0.5)
    # Five prompts in forests of one or two: the processes have other numbers of forests.
    config = TrainingConfig(optim=optim, batch_size=5, micro_batch_tokens=16, precision="fp32", checkpoint_steps=1)
    source = PromptSource([prompt(index) for index in range(23)], batch_size=5, seed=3)
    validation, store = Validation(value, every=2, patience=9), CheckpointStore(folder / "checkpoints", {})
    train(
        model, source, config, steps=steps, max_length=16, validation=validation, store=store, progress=progress,
        world=world,
    )  # fmt: skip
    world.collect(model)
    world.first(lambda: save_adapter(model, folder))
    return seen


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def assert_alike(first: Path, second: Path) -> None:
    one, other = adapter(first), adapter(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert (other[name] - tensor).norm() <= 1e-3 * tensor.norm(), name


def test_divided_it_becomes_the_model_of_one_process(tmp_path: Path, returned: Returned) -> None:
    backbone = make_tiny(tmp_path / "tied", "qwen2", layers=1)  # its head is its embedding
    work = partial(losses, backbone=backbone, mode="full", steps=3)
    alone = work(World(), folder=tmp_path / "alone")
    results = returned(2, partial(work, folder=tmp_path / "divided"), shard=True)
    assert results[0] == results[1] == pytest.approx(alone, rel=1e-5)
    assert_alike(tmp_path / "alone", tmp_path / "divided")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_it_resumes_at_any_number_and_undivided(
    tmp_path: Path, returned: Returned, together: Together, mode: str
) -> None:
    work = partial(losses, backbone=make_tiny(tmp_path / "tied", "qwen2"), mode=mode)
    alone = work(World(), folder=tmp_path / "alone")
    stopped = together(2, partial(work, folder=tmp_path / "divided", stop=5), shard=True)
    assert [how for how, _ in stopped] == ["Stop", "Stop"], stopped
    rest = returned(3, partial(work, folder=tmp_path / "divided"), shard=True)
    assert rest[0] == rest[1] == rest[2] == pytest.approx(alone[4:], rel=1e-5)
    assert_alike(tmp_path / "alone", tmp_path / "divided")
    together(2, partial(work, folder=tmp_path / "back", stop=5), shard=True)
    assert work(World(), folder=tmp_path / "back") == pytest.approx(alone[4:], rel=1e-5)


def vanish(world: World, backbone: Path, folder: Path) -> object:
    if world.rank == 1:
        os._exit(1)
    return losses(world, backbone, "lora", folder)


def test_a_process_that_ends_ends_the_others(tmp_path: Path, together: Together) -> None:
    work = partial(vanish, backbone=make_tiny(tmp_path / "tiny", "llama"), folder=tmp_path)
    lost, died = together(2, work, shard=True)
    assert (lost[0], died[0]) == ("ProcessError", "died")
    assert "process 0 of 2; found another process lost" in lost[1]


def test_one_process_divides_nothing() -> None:
    with pytest.raises(ConfigError, match="found one process; expected several: --processes, or torchrun"):
        joined(None, shard=True).__enter__()


def test_it_is_loaded_to_main_memory_and_unquantised() -> None:
    group = ShardedGroup(0, 2)
    assert group.loading(BackboneConfig(name="x", dtype="float32")).device == "cpu"
    with pytest.raises(ModelError, match="found quantization 4bit"):
        group.loading(BackboneConfig(name="x", quantization="4bit"))
