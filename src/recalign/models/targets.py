"""Which linear layers LoRA adapts, per architecture."""

from __future__ import annotations

import re
from typing import Any

from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS
from torch import nn
from transformers.pytorch_utils import Conv1D

from recalign.errors import ModelError

# The first row that the model has all of. Both papers adapt the query and value projections of LLaMA; the other rows
# are what architectures that fuse these projections call the fused one: GPT-NeoX, Falcon, BLOOM; GPT-2; Phi-3; MPT.
_BY_NAME = (("q_proj", "v_proj"), ("query_key_value",), ("c_attn",), ("qkv_proj",), ("Wqkv",))


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """Name → layer of everything that LoRA can adapt, the output head excepted."""
    head = model.get_output_embeddings()
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D))
    return {name: module for name, module in layers if module is not head}


def resolve_targets(model: Any, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Names (last components, or whole paths) of the layers to adapt: those `wanted`, else the architecture's default.

    Raises:
        ModelError: a wanted name is no linear layer of the model, or the architecture has no default.
    """
    layers = linear_layers(model)
    available = sorted({name.rpartition(".")[2] for name in layers})
    if wanted is not None:
        for target in wanted:
            if not any(_is(name, target) for name in layers):
                raise ModelError(f"LoRA target {target!r}", found="no such layer", expected=f"some of {available}")
        return wanted
    for names in _BY_NAME:
        if set(names) <= set(available):
            return names
    default = PEFT_TARGETS.get(model.config.model_type)
    if isinstance(default, str):
        default = [name for name in layers if re.fullmatch(default, name)]
    if default and all(any(name.endswith(target) for name in layers) for target in default):
        return tuple(default)
    raise ModelError(
        f"LoRA has no default layers for architecture {model.config.model_type!r}",
        hint=f"Set lora.targets to some of: {', '.join(available)}.",
    )


def fan_in_fan_out(model: Any, targets: tuple[str, ...]) -> bool:
    """Whether the adapted layers store their weights transposed (GPT-2's Conv1D), which PEFT wants to be told."""
    chosen = (layer for name, layer in linear_layers(model).items() if any(_is(name, target) for target in targets))
    return any(isinstance(layer, Conv1D) for layer in chosen)


def _is(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
