"""Several processes tune like one: equal losses, exact resume, and none goes on without the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from recalign.errors import ArtifactError, ProcessError
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.tuning.checkpoint import CheckpointStore, LoopState
from recalign.tuning.config import OptimConfig, TrainingConfig
from recalign.tuning.joining import Place, joined, launched
from recalign.tuning.loop import LoopResult, StepReport, Validation, train
from recalign.tuning.sources import PromptSource
from recalign.tuning.world import Group, World

STEPS = 20
Tuned = tuple[list[float], dict[str, Any], list[dict[str, float]]]
Together = Callable[..., list[tuple[str, Any]]]
Returned = Callable[..., list[Any]]


def model(dropout: float = 0.0, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            attention_dropout=dropout,
        )
    )


def prompt(index: int) -> EncodedPrompt:
    ids = (1, 2, *range(3, 6 + index % 6), 20 + index % 7, 30 + index % 2)
    return EncodedPrompt(ids=ids, labels=(*(IGNORE,) * (len(ids) - 1), ids[-1]), answer_start=len(ids) - 1)


def source(batch_size: int = 7) -> PromptSource:
    return PromptSource([prompt(index) for index in range(23)], batch_size=batch_size, seed=3)


def config(**changes: object) -> TrainingConfig:
    optim = OptimConfig(lr=1e-2, warmup_steps=2, ema=0.9, weight_decay=0.01)
    values: dict[str, object] = {"seed": 5, "optim": optim, "micro_batch_tokens": 40, "precision": "fp32"}
    return TrainingConfig.model_validate({**values, "checkpoint_steps": 4, **changes})


class Stop(Exception):
    """Stands for a crash of all processes."""


def tuned(
    world: World,
    *,
    store: Path | None = None,
    stop: int = 0,
    signal_on: int = -1,
    dropout: float = 0.0,
    batch_size: int = 7,
    seed: int = 0,
    **changes: object,
) -> Tuned:
    """Losses of the steps, the weights that were kept, the log."""
    losses: list[float] = []

    def progress(report: StepReport) -> None:
        losses.append(report.loss)
        if report.step == stop and signal_on == -1:
            raise Stop
        if report.step == stop and signal_on == world.rank:
            signal.raise_signal(signal.SIGTERM)

    network = model(dropout, seed)
    checkpoints = CheckpointStore(store, {"seed": 5}) if store else None
    result = train(
        network, source(batch_size), config(**changes), steps=STEPS, max_length=16, store=checkpoints,
        progress=progress, world=world,
    )  # fmt: skip
    # As numbers: tensors in a pipe are shared memory, which ends with the process.
    weights = {name: tensor.detach().tolist() for name, tensor in network.named_parameters()}
    return losses, weights, result.log


drawing = partial(tuned, dropout=0.2, lm_weight=0.3)


@pytest.fixture(scope="module")
def alone() -> Tuned:
    """One process, without dropout."""
    return tuned(World())


@pytest.fixture(scope="module")
def whole(returned: Returned) -> list[Tuned]:
    """Two processes with dropout, uninterrupted."""
    return returned(2, drawing)


@pytest.mark.parametrize("size", [2, 3])
def test_more_processes_have_the_losses_of_one(alone: Tuned, size: int, returned: Returned) -> None:
    results = returned(size, tuned)
    assert all(result == results[0] for result in results), "all make the same step"
    assert results[0][0] == pytest.approx(alone[0], rel=1e-5)


def test_the_losses_of_one_with_fewer_trees_than_processes(returned: Returned) -> None:
    few = partial(tuned, batch_size=1)
    assert returned(2, few)[0][0] == pytest.approx(few(World())[0], rel=1e-5)


def test_the_same_processes_give_the_same_bits(whole: list[Tuned], returned: Returned) -> None:
    assert returned(2, drawing) == whole


def test_a_checkpoint_of_two_resumes_at_any_number_without_dropout(
    tmp_path: Path, alone: Tuned, together: Together, returned: Returned
) -> None:
    for size in (1, 3):
        store = tmp_path / f"to-{size}"
        stopped = together(2, partial(tuned, store=store, stop=10))
        assert [how for how, _ in stopped] == ["Stop", "Stop"]
        assert sorted(path.name for path in store.iterdir()) == ["step-00000004", "step-00000008"]
        work = partial(tuned, store=store, seed=9)
        rest = work(World()) if size == 1 else returned(size, work)[0]
        assert rest[0] == pytest.approx(alone[0][8:], rel=1e-5)


def test_with_dropout_it_resumes_bit_for_bit_and_at_no_other_number(
    tmp_path: Path, whole: list[Tuned], together: Together, returned: Returned
) -> None:
    store = tmp_path / "checkpoints"
    together(2, partial(drawing, store=store, stop=10))
    with pytest.raises(ArtifactError, match=r"processes: 2 -> 1, with dropout .* Pass --processes 2"):
        drawing(World(), store=store)
    outcomes = together(3, partial(drawing, store=store))
    assert [how for how, _ in outcomes] == ["ArtifactError"] * 3
    again = returned(2, partial(drawing, store=store, seed=9))
    assert again[0] == (whole[0][0][8:], *whole[0][1:])


def test_a_signal_to_one_stops_all_after_the_same_step(
    tmp_path: Path, whole: list[Tuned], together: Together, returned: Returned
) -> None:
    store = tmp_path / "checkpoints"
    work = partial(drawing, store=store, checkpoint_steps=100)
    outcomes = together(2, partial(work, stop=6, signal_on=1))
    assert [how for how, _ in outcomes] == ["Interrupted"] * 2
    assert all("stopped after step 6 of 20" in text for _, text in outcomes)
    assert [path.name for path in store.iterdir()] == ["step-00000006"]
    assert returned(2, work)[0][0] == whole[0][0][6:]


def broken_save(self: CheckpointStore, state: LoopState) -> None:
    raise OSError("no space left")


def test_a_save_that_fails_on_the_first_process_fails_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: Together
) -> None:
    monkeypatch.setattr(CheckpointStore, "save", broken_save)
    outcomes = together(3, partial(tuned, store=tmp_path / "c"))
    assert [how for how, _ in outcomes] == ["OSError", "ProcessError", "ProcessError"]
    assert "process 2 of 3; found process 0 failed" in outcomes[2][1]


def vanish(world: World) -> object:
    def progress(report: StepReport) -> None:
        if report.step == 5 and world.rank == 1:
            os._exit(1)

    return train(model(), source(), config(), steps=STEPS, max_length=16, progress=progress, world=world)


def test_a_process_that_ends_ends_the_others(together: Together) -> None:
    started = time.monotonic()
    outcomes = together(3, vanish)
    assert [how for how, _ in outcomes] == ["ProcessError", "died", "ProcessError"]
    assert "another process lost" in outcomes[0][1]
    assert time.monotonic() - started < 60


def selecting(world: World) -> LoopResult:
    """Each process sees another validation: that of the second one never gains."""
    values = iter([0.1, 0.2, 0.3, 0.2, 0.1, 0.0] if world.rank == 0 else [1.0] * 20)
    validation = Validation(lambda: next(values), every=1, patience=3)
    return train(model(), source(), config(), steps=STEPS, max_length=16, validation=validation, world=world)


def test_the_first_process_says_which_step_is_kept(returned: Returned) -> None:
    results = returned(2, selecting)
    assert [(result.kept_step, result.steps_done) for result in results] == [(3, 6), (3, 6)]


def other_inputs(world: World) -> None:
    world.check_same("inputs of the stage", {"rank": 0})
    world.check_same("inputs of the stage", {"rank": world.rank})


def test_processes_with_other_inputs_are_refused(together: Together) -> None:
    outcomes = together(3, other_inputs)
    assert [how for how, _ in outcomes] == ["ProcessError"] * 3
    assert "another on process 1, 2 than on process 0" in outcomes[0][1]


def reduced(world: World) -> list[object]:
    kinds = (torch.float32, torch.bfloat16, torch.float32)
    shared, own, idle = (torch.nn.Parameter(torch.zeros(2, dtype=kind)) for kind in kinds)
    shared.grad = torch.full((2,), 1.0 + world.rank)
    if world.rank:
        own.grad = torch.tensor([2.0, 4.0], dtype=torch.bfloat16)
    world.reduce([shared, own, idle])
    return [
        None if tensor.grad is None else (tensor.grad.tolist(), str(tensor.grad.dtype))
        for tensor in (shared, own, idle)
    ]


def test_gradients_are_summed_and_none_stays_none(returned: Returned) -> None:
    expected = [([3.0, 3.0], "torch.float32"), ([2.0, 4.0], "torch.bfloat16"), None]
    assert returned(2, reduced) == [expected, expected]


@given(st.lists(st.integers(2, 60), min_size=1, max_size=40), st.integers(2, 5))
def test_shares_are_all_pieces_once_and_alike_in_size(lengths: list[int], size: int) -> None:
    shares = [Group(rank, size).share(lengths) for rank in range(size)]
    assert sorted(place for share in shares for place in share) == list(range(len(lengths)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(lengths[place] for place in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)


def test_the_place_comes_from_the_launcher() -> None:
    names = {"RANK": "5", "WORLD_SIZE": "8", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert launched({**names, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}) == Place(5, 8, 1, 4)
    assert launched({"RANK": "5", "WORLD_SIZE": "8"}) is None
    with pytest.raises(ProcessError, match="expected numbers"):
        launched({**names, "RANK": "first"})
    with joined(Place(0, 1, 0, 1)) as world:
        assert type(world) is World
