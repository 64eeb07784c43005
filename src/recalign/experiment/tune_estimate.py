"""About how long one stage will take on this machine, said before it begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch

from recalign.experiment.estimate import checkpoint_parameters, nano_operations, parameters, tuning_operations
from recalign.models.backbone import resolve_device
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.models.hf_checkpoint import find_local
from recalign.tuning.backbones import NANO
from recalign.tuning.backbones.nano import is_built
from recalign.tuning.config import CotStage, InstructionStage, RecStage
from recalign.tuning.curriculum import read_cot
from recalign.tuning.provenance import StageInputs, taught_data

_EFFICIENCY: Final = 0.6  # of training beside one large matrix product, as measured with AVX2 and with AVX-512
_START: Final = 10.0  # seconds until the first step: libraries, prompts


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


def duration(seconds: float) -> str:
    """Seconds up to a minute and a half, minutes up to an hour and a half, then hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate_tuning(inputs: StageInputs, backbone: BackboneConfig, nano: NanoConfig) -> TuneEstimate | None:
    """What the stage will take; None where the size of the backbone is not known, as it is not on this machine.

    Args:
        inputs: The stage. Its own backbone is not looked at, for it may not be made yet.
        backbone: What was asked for, "nano" among others.
        nano: The settings of a nano that is to be made.
    """
    if backbone.name == NANO:
        size = parameters(nano)
    else:
        directory = find_local(backbone.name, backbone.revision)
        if directory is None:
            return None
        size = checkpoint_parameters(directory)
    if not size:
        return None  # no checkpoint: whoever loads it says what is wrong
    speed = _EFFICIENCY * product_speed(str(resolve_device(backbone.device)))
    pretraining = 0.0
    if backbone.name == NANO and not is_built(nano, inputs.data):
        pretraining = nano_operations(nano) / speed
    return TuneEstimate(pretraining, _START + tuning_operations(inputs.config, size, _rows(inputs)) / speed)


def product_speed(device: str, size: int = 1024, repeats: int = 8) -> float:
    """Operations per second of wall time of float32 matrix products, with the threads that training will have."""
    matrix = torch.ones((size, size), device=device)
    float((matrix @ matrix)[0, 0])  # the first product also loads kernels
    began = time.monotonic()
    for _ in range(repeats):
        product = matrix @ matrix
    float(product[0, 0])  # waits for a GPU
    return 2.0 * size**3 * repeats / max(time.monotonic() - began, 1e-6)


def _rows(inputs: StageInputs) -> float:
    """Prompts of an epoch."""
    match inputs.config:
        case InstructionStage() as config:
            return config.instructions * len(inputs.data)
        case RecStage() as config:
            return config.shots or sum(data.count("train") for data in inputs.data)
        case CotStage():
            return len(read_cot(taught_data(inputs))[0])
