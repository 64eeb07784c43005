"""A LoRA as PEFT's files: ``adapter_model.safetensors``, and ``adapter_config.json``, which names the base.

PEFT adds a LoRA to whatever base it is given, and computes something. So an adapter is written for it only where the
base is one that somebody else can have. Where it is not, ``adapter_config.json`` has nothing in it but a sentence, on
which PEFT, transformers and servers stop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor

from recalign.models.backbone import Backbone
from recalign.models.weights import write_tensors

LORA_WEIGHTS, LORA_CONFIG = "adapter_model.safetensors", "adapter_config.json"
ADAPTER: Final = "default"  # PEFT's name of a model's first adapter
NOT_ALONE: Final = (
    "This adapter belongs on the weights of base.safetensors, not on a published model. "
    "Write a model that can be loaded: recalign export RUN --to merged --output DIR"
)


def lora_tensors(model: PeftModel) -> dict[str, Tensor]:
    """The tensors of the LoRA by PEFT's names."""
    # Left to itself PEFT asks the hub whether the base model's vocabulary was resized.
    return dict(get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False))


def write_lora(model: PeftModel, backbone: Backbone, directory: Path, *, alone: bool, base: str | None = None) -> str:
    """Write both files and return the SHA-256 of the weights.

    `alone`: the LoRA on the untouched backbone is the model. Where it is not, nothing but recalign can load the files.
    `base`: the hub id that others find the backbone under, where it lies in a directory here.
    """
    config: dict[str, object] = {"peft_type": NOT_ALONE, "base_model_name_or_path": NOT_ALONE}
    if alone:
        names = {"base_model_name_or_path": base or base_name(backbone), "revision": backbone.revision}
        config = {**model.peft_config[ADAPTER].to_dict(), **names, "inference_mode": True}
    write_json(config, directory / LORA_CONFIG)
    return write_tensors(lora_tensors(model), directory / LORA_WEIGHTS)


def base_name(backbone: Backbone) -> str:
    """A hub id, or ``./NAME`` for a local directory: NAME alone might be the hub id of another model."""
    name = public_name(backbone)
    return name if backbone.revision is not None else f"./{name}"


def public_name(backbone: Backbone) -> str:
    """A hub id, or the name of a local directory without its path."""
    return backbone.name if backbone.revision is not None else Path(backbone.name).resolve().name


def write_json(document: Mapping[str, object], path: Path) -> None:
    """Write an object as JSON: the same object, the same bytes."""
    # PEFT keeps names in sets, whose order differs from process to process.
    path.write_text(json.dumps(document, indent=2, sort_keys=True, default=sorted) + "\n", encoding="utf-8")
