"""The loop on a tiny Llama: exact resume, interruption, selection, and equal gradients however prompts are packed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import LlamaConfig, LlamaForCausalLM

from recalign.errors import Interrupted
from recalign.models.forward import logits_at
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import Tree, grow_tree, pack
from recalign.tuning.checkpoint import CheckpointStore
from recalign.tuning.config import OptimConfig, TrainingConfig
from recalign.tuning.loop import LoopResult, StepReport, Validation
from recalign.tuning.loop import train as train_loop
from recalign.tuning.sources import PromptSource

STEPS = 6


def tiny_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            attention_dropout=0.1,
        )
    )


def make_prompt(index: int) -> EncodedPrompt:
    ids = (1, 2, 3 + index % 5, 8 + index % 7, 20 + index % 3, 30 + index % 2)
    return EncodedPrompt(ids=ids, labels=(*(IGNORE,) * 5, ids[5]), answer_start=5)


def source() -> PromptSource:
    return PromptSource([make_prompt(index) for index in range(23)], batch_size=8, seed=3)


def config(**changes: object) -> TrainingConfig:
    values: dict[str, object] = {
        "seed": 5,
        "optim": OptimConfig(lr=1e-2, warmup_steps=2, ema=0.9, weight_decay=0.01),
        "micro_batch_tokens": 20,
        "precision": "fp32",
        "lm_weight": 0.3,
        "checkpoint_steps": 1,
    }
    return TrainingConfig.model_validate({**values, **changes})


def train(
    model: LlamaForCausalLM,
    data: PromptSource,
    training: TrainingConfig,
    *,
    steps: int = STEPS,
    validate: Callable[[], float] | None = None,
    every: int = 2,
    patience: int = 10,
    store: CheckpointStore | None = None,
    progress: Callable[[StepReport], None] | None = None,
    until: int | None = None,
) -> LoopResult:
    chosen = Validation(validate, every, patience) if validate else None
    asked = {"steps": steps, "until": until, "max_length": 16}
    return train_loop(model, data, training, **asked, validation=chosen, store=store, progress=progress)  # type: ignore[arg-type]


def validator(model: torch.nn.Module) -> Callable[[], float]:
    """Something to maximise that depends on the weights alone."""

    @torch.no_grad()
    def validate() -> float:
        return float(sum(parameter.sum() for parameter in model.parameters()))

    return validate


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


class Stop(Exception):
    """Stands for kill -9: nothing after the checkpoint runs."""


@pytest.mark.parametrize("selecting", [False, True])
def test_resume_after_a_stop_at_any_step_is_bit_equal(tmp_path: Path, selecting: bool) -> None:
    def validation(model: torch.nn.Module) -> Callable[[], float] | None:
        return validator(model) if selecting else None

    losses: list[float] = []
    whole = tiny_model()
    check = validation(whole)
    result = train(whole, source(), config(), validate=check, progress=lambda r: losses.append(r.loss))
    for stop in range(1, STEPS):
        seen: list[float] = []

        def halt(report: StepReport, stop: int = stop, seen: list[float] = seen) -> None:
            seen.append(report.loss)
            if report.step == stop + 1:  # the checkpoint of step `stop` is there, that of the next one is not
                raise Stop

        store = CheckpointStore(tmp_path / f"{stop}", {"seed": 5})
        first = tiny_model()
        with pytest.raises(Stop):
            train(first, source(), config(), validate=validation(first), store=store, progress=halt)
        torch.manual_seed(12345)
        model = tiny_model(seed=99)  # other weights: everything must come from the checkpoint
        rest: list[StepReport] = []
        check = validation(model)
        again = train(model, source(), config(), validate=check, store=store, progress=rest.append)
        assert [*seen[:stop], *(report.loss for report in rest)] == losses
        assert again.log == result.log
        assert again.kept_step == result.kept_step
        assert_same(weights(whole), weights(model))


def test_same_inputs_give_the_same_bits() -> None:
    first, second = tiny_model(), tiny_model()
    train(first, source(), config())
    train(second, source(), config())
    assert_same(weights(first), weights(second))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_next_call_goes_on_exactly(tmp_path: Path, number: signal.Signals) -> None:
    whole = tiny_model()
    train(whole, source(), config())
    store = CheckpointStore(tmp_path / "c", {"seed": 5})

    def interrupt(report: StepReport) -> None:
        if report.step == 3:
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as caught:
        train(tiny_model(), source(), config(checkpoint_steps=100), store=store, progress=interrupt)
    assert caught.value.signal_number == number
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    model = tiny_model(seed=1)
    train(model, source(), config(checkpoint_steps=100), store=store)
    assert_same(weights(whole), weights(model))


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from test_loop import *
store = CheckpointStore(Path({directory!r}), {{"seed": 5}})
def die(report):
    if report.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
train(tiny_model(), source(), config(), store=store, progress=die)
"""


def test_kill_9_between_steps(tmp_path: Path) -> None:
    script = KILLED.format(here=str(Path(__file__).parent), directory=str(tmp_path / "c"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole, model = tiny_model(), tiny_model(seed=1)
    train(whole, source(), config())
    train(model, source(), config(), store=CheckpointStore(tmp_path / "c", {"seed": 5}))
    assert_same(weights(whole), weights(model))


def test_until_ends_earlier_on_the_same_schedule(tmp_path: Path) -> None:
    store, kept = CheckpointStore(tmp_path / "c", {"seed": 5}), tiny_model()

    def halt(report: StepReport) -> None:
        if report.step == 4:
            raise Stop

    with pytest.raises(Stop):
        train(kept, source(), config(checkpoint_steps=3), store=store, progress=halt)
    state = store.load_latest()
    assert state is not None
    assert state.ema is not None
    model, reports = tiny_model(), list[StepReport]()
    result = train(model, source(), config(), until=3, progress=reports.append)
    assert (result.kept_step, result.steps_done) == (3, 3)
    assert [(report.step, report.steps) for report in reports] == [(1, 3), (2, 3), (3, 3)]
    assert_same(weights(model), state.ema)
    untouched = tiny_model()
    before = weights(untouched)
    assert train(untouched, source(), config(), until=0).steps_done == 0
    assert_same(weights(untouched), before)


def test_a_store_that_keeps_the_last_step_makes_a_finished_training_nothing_to_do(tmp_path: Path) -> None:
    whole, again, reports = tiny_model(), tiny_model(seed=1), list[StepReport]()
    store = CheckpointStore(tmp_path / "c", {"seed": 5}, keep_last=True)
    result = train(whole, source(), config(checkpoint_steps=100), store=store)
    repeated = train(again, source(), config(checkpoint_steps=100), store=store, progress=reports.append)
    assert reports == []
    assert repeated.log == result.log
    assert_same(weights(whole), weights(again))


def test_selection_keeps_the_best_step_and_stops_early() -> None:
    values = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    model = tiny_model()
    result = train(model, source(), config(), steps=50, every=1, patience=3, validate=lambda: next(values))
    assert (result.kept_step, result.steps_done) == (2, 5)


def test_of_two_equal_validations_the_first_step_is_kept() -> None:
    result = train(tiny_model(), source(), config(), every=1, patience=2, validate=lambda: 0.5)
    assert (result.kept_step, result.steps_done) == (1, 3)


def test_random_numbers_drawn_by_a_validation_change_nothing() -> None:
    values = iter(range(1, STEPS + 1))

    def validate() -> float:
        torch.rand(3)
        return next(values)

    quiet, drawing = tiny_model(), tiny_model()
    train(quiet, source(), config())
    result = train(drawing, source(), config(), every=1, validate=validate)
    assert result.kept_step == STEPS
    assert_same(weights(quiet), weights(drawing))


@pytest.mark.parametrize("clip_norm", [1e-3, 0.05])
def test_gradients_are_clipped_before_every_step(clip_norm: float) -> None:
    norms: list[float] = []

    def measure(optimizer: torch.optim.Optimizer, *_: object) -> None:
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        norms.append(float(torch.stack([tensor.grad.norm() for tensor in tensors]).norm()))

    hook = register_optimizer_step_pre_hook(measure)
    try:
        train(tiny_model(), source(), config(optim=OptimConfig(clip_norm=clip_norm)))
    finally:
        hook.remove()
    assert norms == pytest.approx([clip_norm] * STEPS, rel=1e-3)


@pytest.mark.parametrize(("precision", "computed"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_is_that_of_the_forward_pass_and_of_the_loop_alone(precision: str, computed: torch.dtype) -> None:
    model, inside, outside = tiny_model(), set(), set()
    model.lm_head.register_forward_hook(lambda module, inputs, output: inside.add(output.dtype))

    def validate() -> float:
        outside.add(model(torch.tensor([[1, 2]])).logits.dtype)
        return 0.0

    train(model, source(), config(precision=precision), validate=validate)
    assert computed in inside
    assert outside == {torch.float32}, "logits are float32 whatever computes them"
    inside.clear()
    model(torch.tensor([[1, 2]]))
    assert inside == {torch.float32}
    assert "forward" not in vars(model)


def gradients(model: LlamaForCausalLM, trees: list[Tree], *, share: bool) -> dict[str, torch.Tensor]:
    """Gradient of the mean answer loss over all prompts of `trees`."""
    model.zero_grad()
    forest = pack(trees, share=share)
    marked = (forest.labels != IGNORE).nonzero()[0]
    logits = logits_at(model, forest, forest.previous[marked], packed=share)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(forest.ids[marked]), reduction="none")
    (loss * torch.tensor(forest.weights[marked]).float()).mean().backward()
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}


def test_a_tree_has_the_gradient_of_its_separate_prompts() -> None:
    model = tiny_model().eval()
    prompts = [EncodedPrompt((1, 2, 3, 4, 5 + i, 6, 30 + i % 2), (*(IGNORE,) * 6, 30 + i % 2), 6) for i in range(4)]
    apart = gradients(model, [grow_tree([one]) for one in prompts], share=False)
    joined = gradients(model, [grow_tree(prompts)], share=True)
    for name, tensor in apart.items():
        assert (joined[name] - tensor).abs().max() <= 2e-5 * tensor.abs().max(), name
