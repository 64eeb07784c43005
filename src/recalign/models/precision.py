"""The arithmetic in which a model scores. Training has its own (`recalign.tuning.guards`).

auto is the type that the backbone is loaded in (`BackboneConfig.dtype`), with a LoRA beside its weights. In the others
the weights are loaded in float32 and a LoRA is added into them first; then:

* fp32 leaves them so;
* bf16 multiplies in bfloat16. On a CPU these are the linear layers alone (`recalign.models.bf16`), on a GPU everything
  but the output head, whose logits `recalign.models.forward` computes in float32;
* int8 multiplies the linear layers in eight-bit integers (`recalign.models.int8`), on a CPU.

On a CPU embeddings, norms, attention and the output head stay in float32.
"""

from __future__ import annotations

from typing import Any

import torch

from recalign.errors import ModelError
from recalign.models.adapter import merged
from recalign.models.backbone import resolve_device
from recalign.models.bf16 import Bf16Linear
from recalign.models.config import BackboneConfig, Precision
from recalign.models.int8 import Int8Linear, weight_levels
from recalign.models.onednn import computes_in_bf16
from recalign.models.scoring_linear import replace_linears


def for_precision(config: BackboneConfig, precision: Precision) -> BackboneConfig:
    """The configuration with which to load a backbone that will score in `precision`.

    Raises:
        ModelError: The device does not compute in it, or the backbone is to be quantised already.
    """
    if precision == "auto":
        return config
    if config.quantization is not None:
        hint = "Use --precision auto."
        raise ModelError(f"precision {precision}", found=f"quantization {config.quantization}", hint=hint)
    device = resolve_device(config.device)
    if precision == "bf16" and not computes_in_bf16(device.type):
        other = "int8" if device.type == "cpu" else "fp32"
        found = f"device {device}, which does not compute in bfloat16"
        raise ModelError("precision bf16", found=found, hint=f"Use --precision {other}.")
    if precision == "int8":
        if device.type != "cpu":
            hint = "Use --precision bf16, or --device cpu."
            raise ModelError("precision int8", found=f"device {device}", expected="a CPU", hint=hint)
        weight_levels()
    return config.model_copy(update={"dtype": "float32"})


def in_precision(model: Any, precision: Precision) -> Any:
    """A model that was loaded as `for_precision` says, for scoring in `precision`; it is changed in place.

    Raises:
        ModelError: int8 was asked for, and the model has no linear layers of PyTorch's (GPT-2).
    """
    if precision == "auto":
        return model
    model = merged(model)
    head = model.get_output_embeddings()
    if precision == "int8" and replace_linears(model, head, Int8Linear) == 0:
        found = f"a {model.config.model_type} without linear layers of PyTorch's"
        raise ModelError("precision int8", found=found, hint="Use --precision fp32.")
    if precision == "bf16" and (model.device.type != "cpu" or replace_linears(model, head, Bf16Linear) == 0):
        for parameter in model.parameters():  # not the buffers: positions are computed in float32
            parameter.data = parameter.data.to(torch.bfloat16)
    return model
