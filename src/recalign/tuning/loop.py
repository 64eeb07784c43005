"""The one training loop: trees of prompts in, tuned weights out.

Every tuning stage and the pretraining of nano run through `train`. What is trained, on what and when to stop is decided
by its arguments; it knows nothing of recommendation, files of a run, or the command line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from recalign.errors import Interrupted, ModelError
from recalign.models.forward import supports_packing
from recalign.prompting.packing import Tree
from recalign.seeding import derive_seed, generator
from recalign.tuning.checkpoint import CheckpointStore, LoopState, restore_rng, rng_state
from recalign.tuning.config import OptimConfig
from recalign.tuning.guards import collected_signals, deterministic
from recalign.tuning.objective import StepForests
from recalign.tuning.optim import Averager, build_optimizer, flatten_optimizer, learning_rate, restore_optimizer


class BatchSource(Protocol):
    """Training data of a stage as a pure function of the step, which is what makes resuming exact."""

    def batch(self, step: int) -> Sequence[Tree]:
        """The trees of optimizer step `step` (from 0)."""
        ...


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """What the loop needs to know; see `StageConfig` for the meanings."""

    steps: int
    max_length: int
    seed: int
    optim: OptimConfig
    micro_batch_tokens: int
    precision: str
    lm_weight: float = 0.0
    lm_fraction: float = 0.15
    eval_steps: int = 50
    patience: int = 10
    checkpoint_steps: int = 100


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step, for progress displays: mean loss per answer token, prompts seen, seconds since the start."""

    step: int
    steps: int
    loss: float
    samples: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What came of the loop; the model holds the kept weights.

    Attributes:
        kept_step: Step whose weights were kept.
        steps_done: Steps run (early stopping may end before `LoopConfig.steps`).
        log: One entry per validation or 10 steps: ``{"step", "loss", "lr"}`` and ``{"step", "validation"}``.
        seconds: Wall time of this process in the loop (a resumed run counts its own part).
    """

    kept_step: int
    steps_done: int
    log: list[dict[str, Any]]
    seconds: float


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "auto" becomes bf16 where the processor computes in it, otherwise fp32. Returns an Accelerate name."""
    if precision == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        precision = "bf16" if native else "fp32"
    return "bf16" if precision == "bf16" else "no"


def train(
    model: nn.Module,
    source: BatchSource,
    config: LoopConfig,
    *,
    validate: Callable[[], float] | None = None,
    store: CheckpointStore | None = None,
    progress: Callable[[StepReport], None] | None = None,
) -> LoopResult:
    """Tune the parameters of `model` that require a gradient.

    Args:
        model: The model; trained in place, and left in evaluation mode with the kept weights.
        source: Training trees by step.
        config: Steps, optimizer, budgets.
        validate: Value of the model to maximise, called every `eval_steps` and at the end. The best step is kept, and
            the loop stops after `patience` validations without a gain. Without it the last step is kept.
        store: Where checkpoints go; an interrupted run continues from the newest one, bit for bit.
        progress: Called after every step.

    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint was written first.
        ModelError: The loss is not finite.
        ArtifactError: A checkpoint cannot be used or written.
    """
    run = _Run(model, source, config, validate, store, progress)
    with deterministic(run.device), collected_signals() as pending:
        return run.run(pending)


class _Run:
    """State and steps of one call of `train`."""

    def __init__(
        self,
        model: nn.Module,
        source: BatchSource,
        config: LoopConfig,
        validate: Callable[[], float] | None,
        store: CheckpointStore | None,
        progress: Callable[[StepReport], None] | None,
    ) -> None:
        self.source, self.config = source, config
        self.validate, self.store, self.progress = validate, store, progress
        self.plain = model
        self.device = next(model.parameters()).device
        self.packed = supports_packing(model, longest=config.max_length)
        # Accelerate keeps one global state per process, with the precision of its first user.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            cpu=self.device.type == "cpu", mixed_precision=resolve_precision(config.precision, self.device)
        )
        self.trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
        optimizer = build_optimizer(self.trained, config.optim)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.average = Averager(self.trained, config.optim.ema) if config.optim.ema else None
        self.best: dict[str, Tensor] | None = None
        self.facts: dict[str, Any] = {"best_value": None, "best_step": 0, "stale": 0, "log": []}
        self.step = 0

    def run(self, pending: list[int]) -> LoopResult:
        torch.manual_seed(derive_seed(self.config.seed, "dropout"))
        self._resume()
        started, samples = time.monotonic(), 0
        self.model.train()
        while self.step < self.config.steps and self.facts["stale"] < self.config.patience:
            loss, count = self._optimize()
            samples += count
            self.step += 1
            self._after_step(loss)
            if self.progress:
                seconds = time.monotonic() - started
                self.progress(StepReport(self.step, self.config.steps, loss, samples, seconds))
            if pending:
                self._save()
                done = f"stopped after step {self.step} of {self.config.steps}"
                raise Interrupted(pending[0], done, saved=self.store is not None)
            if self.step % self.config.checkpoint_steps == 0 and self.step < self.config.steps:
                self._save()
        return self._finish(time.monotonic() - started)

    def _optimize(self) -> tuple[float, int]:
        """One optimizer step; returns the mean answer loss and the number of prompts."""
        config = self.config
        trees = list(self.source.batch(self.step))
        rate = learning_rate(self.step, config.steps, config.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        draw = generator(config.seed, "lm-tokens", self.step)
        share = config.lm_fraction if config.lm_weight else 0.0
        prompts = StepForests.build(trees, config.micro_batch_tokens, draw, share, packed=self.packed)
        total = 0.0
        for answers, others in prompts.losses(self.model, self.plain):
            self.accelerator.backward(answers + config.lm_weight * others)
            total += float(answers.detach())
        if not math.isfinite(total):
            raise ModelError(
                f"loss at step {self.step + 1}", found=str(total), expected="a finite number", hint="Lower optim.lr"
            )
        self.accelerator.clip_grad_norm_(list(self.trained.values()), config.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.trained, self.step)
        return total, sum(len(tree.branches) for tree in trees)

    def _after_step(self, loss: float) -> None:
        config = self.config
        if self.step % 10 == 0 or self.step == config.steps:
            rate = learning_rate(self.step - 1, config.steps, config.optim)
            self.facts["log"].append({"step": self.step, "loss": round(loss, 6), "lr": rate})
        if self.validate is None or (self.step % config.eval_steps and self.step != config.steps):
            return
        with self._kept_weights():
            state = torch.get_rng_state()
            value = self.validate()
            torch.set_rng_state(state)
        self.model.train()
        self.facts["log"].append({"step": self.step, "validation": value})
        if self.facts["best_value"] is None or value > self.facts["best_value"]:
            self.facts.update(best_value=value, best_step=self.step, stale=0)
            self.best = self._kept()
        else:
            self.facts["stale"] += 1

    def _kept(self) -> dict[str, Tensor]:
        """A copy of the weights that would be kept now: averaged where averaging is on."""
        source = self.average.values if self.average else self.trained
        return {name: tensor.detach().clone() for name, tensor in source.items()}

    @contextmanager
    def _kept_weights(self) -> Iterator[None]:
        """Within the context the model holds the averaged weights, where averaging is on."""
        if not self.average:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        self._load(self.average.values)
        try:
            yield
        finally:
            self._load(own)

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        for name, tensor in self.trained.items():
            tensor.copy_(weights[name])

    def _save(self) -> None:
        if self.store is None:
            return
        self.store.save(
            LoopState(
                step=self.step,
                weights=dict(self.trained),
                optimizer=flatten_optimizer(self.optimizer, self.trained),
                rng=rng_state(),
                ema=self.average.values if self.average else None,
                best=self.best,
                progress=self.facts,
            )
        )

    def _resume(self) -> None:
        state = self.store.load_latest() if self.store else None
        if state is None:
            return
        self._load({name: tensor.to(self.device) for name, tensor in state.weights.items()})
        restore_optimizer(self.optimizer, self.trained, state.optimizer)
        if self.average and state.ema is not None:
            self.average.values = {name: tensor.to(self.device) for name, tensor in state.ema.items()}
        if state.best is not None:
            self.best = {name: tensor.to(self.device) for name, tensor in state.best.items()}
        self.facts = state.progress
        self.step = state.step
        restore_rng(state.rng)

    def _finish(self, seconds: float) -> LoopResult:
        kept_step = self.facts["best_step"] if self.best is not None else self.step
        self._load(self.best if self.best is not None else self._kept())
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.accelerator.free_memory()
        self.plain.eval()
        return LoopResult(kept_step, self.step, self.facts["log"], seconds)
