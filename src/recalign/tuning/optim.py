"""AdamW, the learning-rate schedule and weight averaging, each with a state that can be saved as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recalign.errors import ArtifactError
from recalign.tuning.config import OptimConfig


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of optimizer step `step` (from 0) of `steps`: linear warm-up, then the configured decay."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    span = max(1, steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    height = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[config.schedule]
    return config.lr * (config.final_lr + (1 - config.final_lr) * height)


def build_optimizer(trained: Mapping[str, nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over `trained`; weight decay acts on matrices only."""
    matrices = [tensor for tensor in trained.values() if tensor.ndim >= 2]
    vectors = [tensor for tensor in trained.values() if tensor.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, betas=config.betas)


def flatten_optimizer(optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Optimizer state as ``<parameter name>/<slot>`` tensors."""
    return {
        f"{name}/{slot}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, tensor in trained.items()
        for slot, value in optimizer.state[tensor].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]
) -> None:
    """Put a flattened state back. Raises ArtifactError where a parameter has none."""
    slots: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, slot = key.rsplit("/", 1)
        slots.setdefault(name, {})[slot] = value
    if missing := sorted(set(trained) - set(slots)):
        raise ArtifactError(
            "optimizer state of a checkpoint",
            found=f"nothing for {len(missing)} of {len(trained)} parameters (first: {missing[0]})",
            expected="the state of every trained parameter",
            hint="Start the stage again with --restart",
        )
    for name, tensor in trained.items():
        optimizer.state[tensor] = {
            slot: value if slot == "step" else value.to(tensor.device) for slot, value in slots[name].items()
        }


class Averager:
    """Exponential moving average of weights, with a warm-up so that early steps do not weigh for ever."""

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in trained.items()}

    @torch.no_grad()
    def update(self, trained: Mapping[str, nn.Parameter], step: int) -> None:
        """Move the average towards the weights after optimizer step `step` (from 0)."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, tensor in trained.items():
            self.values[name].lerp_(tensor.detach(), 1 - decay)
