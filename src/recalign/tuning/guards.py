"""What the loop runs inside: deterministic kernels, mixed precision, and signals that wait until a step is complete."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn

from recalign.models.onednn import computes_in_bf16


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, ask torch for its deterministic kernels: scatter-adds otherwise depend on thread timing.

    The mode would also fill every new tensor with NaN, to show reads of memory that nobody wrote; that is left out, for
    it costs a quarter of the time.
    """
    settings: Any = torch.utils.deterministic  # a module whose attributes are made at run time
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before[0] or device.type == "cpu")
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]


def draws_dropout(model: nn.Module) -> bool:
    """Whether the forward pass of `model` in training draws random numbers."""
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    rates += [getattr(module, "attention_dropout", 0.0) for module in model.modules()]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


@contextmanager
def mixed_precision(model: nn.Module, precision: str) -> Iterator[None]:
    """Within the context the forward pass of `model` is under autocast with precision bf16; its logits are float32.

    Precision "auto" is bf16 where the device computes in it. The model's weights keep their type.
    """
    device = next(model.parameters()).device.type
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(device) else "fp32"
    if precision == "fp32":
        yield
        return
    plain, own = model.forward, vars(model).get("forward")

    def forward(*inputs: Any, **options: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            output = plain(*inputs, **options)
        output.logits = output.logits.float()
        return output

    model.forward = forward
    try:
        yield
    finally:
        if own is None:
            del model.forward
        else:
            model.forward = own


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them; a second signal acts at once."""
    pending: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        pending.append(number)
        restore()

    def restore() -> None:
        for name, handler in old.items():
            signal.signal(name, handler)

    old: dict[signal.Signals, Any] = {}
    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            old[name] = signal.signal(name, note)
    except ValueError:  # not the main thread: signals are somebody else's business
        yield pending
        return
    try:
        yield pending
    finally:
        restore()
