"""The one training loop: trees of prompts in, tuned weights out.

Every tuning stage and the pretraining of nano run through `train`. It knows no recommendation, run or command line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from recalign.errors import ArtifactError, Interrupted, ModelError
from recalign.models.forward import supports_packing, tokens_per_pass
from recalign.seeding import derive_seed, generator
from recalign.tuning.ahead import Ahead, made_ahead
from recalign.tuning.checkpoint import CheckpointStore, LogEntry, LoopFacts, LoopState, restore_rng, rng_state
from recalign.tuning.config import TrainingConfig
from recalign.tuning.guards import collected_signals, deterministic, draws_dropout, mixed_precision
from recalign.tuning.optim import (
    Averager,
    StepForests,
    Weights,
    build_optimizer,
    flatten_optimizer,
    idle_loss,
    learning_rate,
    restore_optimizer,
)
from recalign.tuning.sources import BatchSource
from recalign.tuning.weights import copy_weights, load_weights, trained_weights
from recalign.tuning.world import World


@dataclass(frozen=True, slots=True)
class Validation:
    """What selects the step that is kept.

    Attributes:
        value: The model's value, to be maximised.
        every: Optimizer steps between two validations; the last step is validated as well.
        patience: The loop stops after so many validations without a gain.
    """

    value: Callable[[], float]
    every: int
    patience: int


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step, for progress displays: mean loss per answer token, prompts seen, seconds since the start.

    `log` is the log of the training so far, see `LoopResult`; what an interrupted run wrote stands in it.
    """

    step: int
    steps: int
    loss: float
    samples: int
    seconds: float
    log: Sequence[LogEntry] = ()


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What came of the loop; the model holds the kept weights.

    Attributes:
        kept_step, steps_done: Step whose weights were kept; steps run.
        log: One entry per validation or 10 steps: ``{"step", "loss", "lr"}`` and ``{"step", "validation"}``.
        seconds: Wall time of this process in the loop (a resumed run counts its own part).
    """

    kept_step: int
    steps_done: int
    log: list[LogEntry]
    seconds: float


def train(
    model: nn.Module,
    source: BatchSource,
    config: TrainingConfig,
    *,
    steps: int,
    until: int | None = None,
    max_length: int,
    validation: Validation | None = None,
    store: CheckpointStore | None = None,
    progress: Callable[[StepReport], None] | None = None,
    world: World = World(),
) -> LoopResult:
    """Tune the parameters of `model` that require a gradient.

    Args:
        model: It is trained in place, and left in evaluation mode with the kept weights.
        source, config: Training trees by step; optimizer, budgets, precision.
        steps, until: Optimizer steps that the schedule is for; the step after which it ends, by default the last one.
        max_length: Longest prompt of the source, in tokens.
        validation: The best step by it is kept. Without it the last step is kept.
        store: Where checkpoints go; an interrupted run continues from the newest one, bit for bit.
        progress: Called after every step.
        world: The processes that tune together; each of them calls this with the same arguments. The first writes.

    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint was written first.
        ModelError: The loss is not finite.
        ArtifactError: A checkpoint cannot be used or written.
        ProcessError: Another process was lost or failed.
    """
    packed = supports_packing(model, longest=max_length)
    with made_ahead(source, next(model.parameters()).device) as ahead:
        end = steps if until is None else until
        loop = _Loop(model, ahead, config, steps, end, packed, validation, store, progress, world)
        with deterministic(loop.device), mixed_precision(model, config.precision), collected_signals() as pending:
            return loop.run(pending)


@dataclass(eq=False)
class _Loop:
    """State and steps of one call of `train`."""

    model: nn.Module
    source: Ahead
    config: TrainingConfig
    steps: int
    until: int
    packed: bool
    validation: Validation | None
    store: CheckpointStore | None
    progress: Callable[[StepReport], None] | None
    world: World

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.trained = trained_weights(self.model)
        self.budget = tokens_per_pass(self.model, self.config.micro_batch_tokens)
        self.world.align(self.trained.values())
        self.optimizer = build_optimizer(self.trained, self.config.optim)
        self.average = Averager(self.trained, self.config.optim.ema) if self.config.optim.ema else None
        self.best: dict[str, Tensor] | None = None
        self.facts, self.step = LoopFacts(), 0

    def run(self, pending: list[int]) -> LoopResult:
        torch.manual_seed(derive_seed(self.config.seed, "dropout"))
        self._resume()
        started, samples = time.monotonic(), 0
        self.model.train()
        while self.step < self.until and not (self.validation and self.facts.stale >= self.validation.patience):
            loss, count = self._optimize()
            samples += count
            self.step += 1
            self._after_step(loss)
            if self.progress:
                seconds = time.monotonic() - started
                self.progress(StepReport(self.step, self.until, loss, samples, seconds, self.facts.log))
            if signalled := self._signalled(pending):
                self._save()
                done = f"stopped after step {self.step} of {self.until}"
                raise Interrupted(signalled, done, saved=self.store is not None)
            if self.store and self.store.due(self.step, self.until, self.config.checkpoint_steps):
                self._save()
        return self._finish(time.monotonic() - started)

    def _optimize(self) -> tuple[float, int]:
        """One optimizer step; returns the mean answer loss and the number of prompts."""
        config = self.config
        trees = self.source.batch(self.step, self.world.share)
        tree = (trees or self.source.batch(self.step))[0]
        if self.step + 1 < self.until:
            self.source.begin(self.step + 1, self.world.share)
        self.world.seed(config.seed, self.step)
        draw = generator(config.seed, "lm-tokens", self.step, *self.world.names())
        fraction = config.lm_fraction if config.lm_weight else 0.0
        ranked = config.pair_weight > 0 or config.list_weight > 0
        prompts = StepForests.build(trees, self.budget, draw, fraction, packed=self.packed, ranked=ranked)
        prompts = replace(prompts, weights=Weights(*self.world.total(*prompts.weights)))
        losses, idle = [], self.world.idle(len(prompts.forests))
        for part in prompts.losses(self.model):
            self.world.backward(part.weighted(config))
            losses.append(part.answers.detach())
        for _ in range(idle):
            self.world.backward(idle_loss(self.model, tree, packed=self.packed))
        mean = sum(map(float, losses), 0.0)  # read once all passes are under way: a GPU is waited for here
        total, count = self.world.total(mean, sum(len(tree.branches) for tree in trees))
        if not math.isfinite(total):
            thing = f"loss at step {self.step + 1}"
            raise ModelError(thing, found=str(total), expected="a finite number", hint="Lower optim.lr")
        self._update()
        self.source.settle()  # validation uses the tokenizer, too
        return total, int(count)

    def _update(self) -> None:
        """The optimizer's step with the gradients of all processes."""
        rate = learning_rate(self.step, self.steps, self.config.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.world.reduce(self.trained.values())
        nn.utils.clip_grad_norm_(list(self.trained.values()), self.config.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.trained, self.step)

    def _after_step(self, loss: float) -> None:
        facts, last = self.facts, self.step == self.until
        if self.step % 10 == 0 or last:
            rate = learning_rate(self.step - 1, self.steps, self.config.optim)
            facts.log.append({"step": self.step, "loss": round(loss, 6), "lr": rate})
        if self.validation is None or (self.step % self.validation.every and not last):
            return
        with self._kept_weights():
            state = torch.get_rng_state()
            ((value,), *_) = self.world.gather(self.validation.value())  # the first process decides for all
            torch.set_rng_state(state)
        self.model.train()
        facts.log.append({"step": self.step, "validation": value})
        if facts.best_value is None or value > facts.best_value:
            facts.best_value, facts.best_step, facts.stale = value, self.step, 0
            self.best = self._kept()
        else:
            facts.stale += 1

    def _signalled(self, pending: list[int]) -> int:
        """The signal that stops all processes after this step, whichever of them got it; 0 where none came."""
        return int(max(number for (number,) in self.world.gather(pending[0] if pending else 0)))

    def _kept(self) -> dict[str, Tensor]:
        """A copy of the weights that would be kept now: averaged where averaging is on."""
        return copy_weights(self.average.values if self.average else self.trained)

    @contextmanager
    def _kept_weights(self) -> Iterator[None]:
        """Within the context the model holds the averaged weights, where averaging is on."""
        if not self.average:
            yield
            return
        own = copy_weights(self.trained)
        load_weights(self.trained, self.average.values)
        try:
            yield
        finally:
            load_weights(self.trained, own)

    def _save(self) -> None:
        if self.store is None:
            return
        store, size, whole = self.store, self.world.size, self.world.whole
        optimizer = whole(flatten_optimizer(self.optimizer, self.trained))
        average = whole(self.average.values) if self.average else None
        best = None if self.best is None else whole(self.best)
        state = LoopState(self.step, whole(self.trained), optimizer, rng_state(), average, best, self.facts, size)
        self.world.first(lambda: store.save(state))

    def _resume(self) -> None:
        state = self.store.load_latest() if self.store else None
        self.world.check_same("step of the newest checkpoint", state.step if state else 0)
        if state is None:
            return
        if state.processes != self.world.size and draws_dropout(self.model):
            raise ArtifactError(
                f"checkpoint of step {state.step}",
                found=f"processes: {state.processes} -> {self.world.size}, with dropout that depends on their number",
                expected="as many processes as it was written with",
                hint=f"Pass --processes {state.processes}, or start the stage again with --restart",
            )
        load_weights(self.trained, self._parts(state.weights))
        restore_optimizer(self.optimizer, self.trained, state.optimizer, self.world.part)
        if self.average and state.ema is not None:
            self.average.values = self._parts(state.ema)
        if state.best is not None:
            self.best = self._parts(state.best)
        self.facts = state.facts
        self.step = state.step
        restore_rng(state.rng)

    def _parts(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.world.part(weights[name], tensor) for name, tensor in self.trained.items()}

    def _finish(self, seconds: float) -> LoopResult:
        kept_step = self.facts.best_step if self.best is not None else self.step
        load_weights(self.trained, self.best if self.best is not None else self._kept())
        self.model.eval()
        return LoopResult(kept_step, self.step, self.facts.log, seconds)
