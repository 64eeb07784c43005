"""About how long one stage will take on this machine, said before it begins."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from recalign.experiment.estimate import checkpoint_parameters, nano_operations, parameters, tuning_operations
from recalign.models.backbone import resolve_device
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.models.hf_checkpoint import find_local
from recalign.models.onednn import accelerate_linears
from recalign.tuning.backbones import NANO
from recalign.tuning.config import CotStage, InstructionStage, RecStage
from recalign.tuning.curriculum import read_cot
from recalign.tuning.guards import deterministic, mixed_precision
from recalign.tuning.provenance import StageInputs, taught_data

_START: Final = 5.0  # seconds until the first step: prompts, first products
_PROBE_SECONDS: Final = 1.0
_PROBE_OPERATIONS: Final = 5e9  # of one step of the probe on a CPU: a tenth of a second on one core
_PROBE_TOKENS: Final = 4096  # most of a step: about what training puts into one pass
_ROW: Final = 256
_USUAL_WIDTH: Final = 1024
_FRAME_TOKENS: Final = 40  # of a prompt's wording
_ITEM_TOKENS: Final = 3  # of an item beside its text: quotes, "liked", a line's end


@dataclass(frozen=True)
class TuneEstimate:
    """Seconds of the pretraining of nano (0 where it is there, or not asked for) and of the stage itself."""

    pretraining: float
    tuning: float

    def line(self) -> str:
        """For people."""
        total = f"about {duration(self.pretraining + self.tuning)} on this machine, as busy as it is now"
        if not self.pretraining:
            return total
        parts = f"pretraining nano {duration(self.pretraining)}, once per catalogue; tuning {duration(self.tuning)}"
        return f"{total} ({parts})"

    def corrected(self, seconds: float) -> str:
        """For people: what is left after a pretraining that took `seconds`."""
        left = self.tuning * seconds / self.pretraining
        return f"pretraining nano took {duration(seconds)}; tuning takes about {duration(left)}"


def duration(seconds: float) -> str:
    """Seconds up to a minute and a half, minutes up to an hour and a half, then hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate_tuning(
    inputs: StageInputs, backbone: BackboneConfig, nano: NanoConfig, *, built: bool = False
) -> TuneEstimate | None:
    """What the stage will take; None where the size of the backbone is not known, as it is not on this machine.

    Args:
        inputs: The stage. Its own backbone is not looked at, for it may not be made yet.
        backbone: What was asked for, "nano" among others.
        nano: The settings of a nano that is to be made.
        built: Whether the nano is there already.
    """
    if backbone.name == NANO:
        size, width = parameters(nano), nano.hidden
    else:
        directory = find_local(backbone.name, backbone.revision)
        if directory is None or not (directory / "config.json").is_file():
            return None  # no checkpoint: whoever loads it says what is wrong
        size, width = checkpoint_parameters(directory), checkpoint_width(directory)
    if not size:
        return None
    speed = training_speed(str(resolve_device(backbone.device)), width)
    pretraining = 0.0
    if backbone.name == NANO and not built:
        pretraining = nano_operations(nano, _vocabulary(inputs, nano)) / speed
    history, target = _tokens(inputs)
    operations = tuning_operations(inputs.config, size, _rows(inputs), history, target)
    return TuneEstimate(pretraining, _START + operations / speed)


def training_speed(device: str, width: int) -> float:
    """Operations per second of wall time in training, with the threads and in the arithmetic that training will have.

    It is measured on one layer of this `width` with random weights, for about a second: a product of two large matrices
    has no small steps for which threads wait, and says too little of a machine that has other things to do.
    """
    heads = max(1, width // 64)
    shape = LlamaConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=1,
        num_attention_heads=heads,
        head_dim=-(-width // heads // 2) * 2,
    )
    model = LlamaForCausalLM(shape).to(torch.device(device))
    accelerate_linears(model)
    per_token = 6.0 * 13 * width**2
    tokens = _PROBE_TOKENS if device != "cpu" else min(_PROBE_TOKENS, max(64, int(_PROBE_OPERATIONS / per_token)))
    rows = torch.zeros((max(1, tokens // _ROW), min(tokens, _ROW)), dtype=torch.long, device=device)
    with deterministic(torch.device(device)), mixed_precision(model, "auto"):
        _step(model, rows)  # the first one also loads kernels
        began, steps = time.monotonic(), 0
        while steps < 2 or time.monotonic() - began < _PROBE_SECONDS:
            _step(model, rows)
            steps += 1
    return per_token * rows.numel() * steps / (time.monotonic() - began)


def _step(model: LlamaForCausalLM, rows: Tensor) -> None:
    model(rows).logits.sum().backward()
    if rows.is_cuda:
        torch.cuda.synchronize()


def checkpoint_width(directory: Path) -> int:
    """Width of a checkpoint's layers, as its configuration has it; a usual one where it does not say."""
    try:
        settings = json.loads((directory / "config.json").read_bytes())
    except ValueError:
        settings = None  # whoever loads the checkpoint says what is wrong with it
    if not isinstance(settings, dict):
        return _USUAL_WIDTH
    settings |= settings.get("text_config") or {}
    widths = (settings.get(name) for name in ("hidden_size", "n_embd", "d_model"))
    return next((width for width in widths if isinstance(width, int) and width > 0), _USUAL_WIDTH)


def _vocabulary(inputs: StageInputs, nano: NanoConfig) -> int:
    """Entries that the tokenizer of a nano will have, about: bytes, words of prompts, pieces of the items' words."""
    words = {word for data in inputs.data for text in data.catalog.frame["text"] for word in str(text).split()}
    return min(nano.vocabulary, 600 + 4 * len(words))


def _tokens(inputs: StageInputs) -> tuple[float, float]:
    """Tokens of a prompt with one target, and of one more target, about: four characters to a token."""
    item = max(fmean(map(len, data.catalog.frame["text"])) for data in inputs.data) / 4 + _ITEM_TOKENS
    windows = [int(data.manifest.config["protocol"].get("window", 10)) for data in inputs.data]
    return max(windows) * item + _FRAME_TOKENS, item + _FRAME_TOKENS / 4


def _rows(inputs: StageInputs) -> float:
    """Prompts of an epoch."""
    match inputs.config:
        case InstructionStage() as config:
            return config.instructions * len(inputs.data)
        case RecStage() as config:
            return config.shots or sum(data.count("train") for data in inputs.data)
        case CotStage():
            return len(read_cot(taught_data(inputs))[0])
