"""Adapters: what tuning changes of a backbone, attached, saved and loaded.

An adapter directory is a set of plain files inside an artefact that someone else stages:

* mode ``lora``: ``adapter_model.safetensors`` and ``adapter_config.json`` in PEFT's format, so that PEFT and what
  builds on it can read it too. Where the LoRA sits on a parent of mode ``full``, that parent's weights lie beside it as
  ``base.safetensors``: the directory and the backbone are all that is needed. PEFT cannot know of these weights, so
  ``adapter_config.json`` then stops it (`recalign.models.peft_files`).
* mode ``full``: ``model.safetensors``, all parameters.
* ``recalign_adapter.json`` in both, see `AdapterRecord`. It alone decides what is loaded: ``adapter_config.json`` is
  written for others and never read here, because it names a base model of the network.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from pydantic import ValidationError
from torch import Tensor

from recalign.errors import ModelError
from recalign.models.backbone import Backbone, TokenizerOnly
from recalign.models.config import Frozen, LoraSettings
from recalign.models.peft_files import ADAPTER, LORA_WEIGHTS, lora_tensors, public_name, write_json, write_lora
from recalign.models.targets import fan_in_fan_out, resolve_targets
from recalign.models.weights import check_fit, fill, read_tensors, unique_tensors, write_tensors
from recalign.seeding import derive_seed

Mode = Literal["lora", "full"]
RECORD = "recalign_adapter.json"
FULL_WEIGHTS, BASE_WEIGHTS = "model.safetensors", "base.safetensors"


class Ancestor(Frozen):
    """An adapter that another one was started from."""

    mode: Mode
    weights: str


class AdapterRecord(Frozen):
    """Content of ``recalign_adapter.json``.

    Attributes:
        mode: What was trained.
        backbone: The backbone's hub id, or the name of its directory; for reading only, it is never followed. No
            path: the same run in another place gives the same bytes.
        revision: Its hub commit.
        base_fingerprint: `Backbone.fingerprint` of it: the adapter loads on no other.
        lora: Settings with resolved targets; None in mode ``full``.
        weights: SHA-256 of the weights file.
        base_weights: SHA-256 of ``base.safetensors``.
        ancestors: The adapters it was continued from, the oldest first.
    """

    format_version: Literal[1] = 1
    mode: Mode
    backbone: str
    revision: str | None
    base_fingerprint: str
    lora: LoraSettings | None
    weights: str
    base_weights: str | None
    ancestors: tuple[Ancestor, ...]


def read_record(directory: Path) -> AdapterRecord:
    """Read ``recalign_adapter.json``. Raises ModelError where there is none that this version understands."""
    path = directory / RECORD
    try:
        return AdapterRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{directory} is no adapter of recalign", found=f"no {RECORD} in it") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}", found=error.strerror or type(error).__name__) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise ModelError(f"{path} is no adapter record", found=f"{field}: {first['msg']}") from error


def checked_record(directory: Path, backbone: Backbone | TokenizerOnly) -> AdapterRecord:
    """`read_record` of an adapter that was made for this backbone. Raises ModelError where it was made for another."""
    record = read_record(directory)
    if record.base_fingerprint != backbone.fingerprint:
        raise ModelError(
            f"adapter {directory} was made for another backbone",
            found=f"{record.backbone} ({record.base_fingerprint[:12]})",
            expected=f"{backbone.name} ({backbone.fingerprint[:12]})",
            hint="Pass the backbone that it was tuned from.",
        )
    return record


@dataclass(frozen=True)
class _Origin:
    """What `save_adapter` has to know of a model that `attach` returned; it travels with the model."""

    mode: Mode
    backbone: Backbone
    lora: LoraSettings | None
    ancestors: tuple[Ancestor, ...]
    base: dict[str, Tensor] | None  # the full weights beneath the LoRA, as their file has them


def attach(backbone: Backbone, mode: Mode, lora: LoraSettings, parent: Path | None, *, seed: int = 0) -> Any:
    """Make the backbone trainable and return the model (the backbone's own is changed in place).

    ================  =================================  ==================================================
    mode              parent of mode ``lora``            parent of mode ``full``
    ================  =================================  ==================================================
    ``lora``          continues with its very weights    a new LoRA on the parent's weights, which are kept
    ``full``          its LoRA is merged, all is tuned   continues with its weights
    ================  =================================  ==================================================

    Mode ``full`` is float32 in training and use, whatever type was loaded.

    Args:
        backbone: Freshly loaded; it can be used once.
        mode: Train a LoRA or all parameters.
        lora: With a LoRA parent, rank, alpha and targets must be its own (the dropout may change).
        parent: Adapter directory to start from.
        seed: Root of the LoRA initialisation, which depends on nothing else.

    Raises:
        ModelError: the parent belongs to another backbone or has other shapes; a LoRA target that is not there; mode
            ``full`` (or a parent of that mode) on a quantised backbone; a backbone used before.
        ArtifactError: a file of the parent is missing or altered.
    """
    record = _claim(backbone, parent, mode)
    ancestors: tuple[Ancestor, ...] = ()
    if record is not None:
        ancestors = (*record.ancestors, Ancestor(mode=record.mode, weights=record.weights))
    if mode == "full":
        backbone.model.float()
        model = merged(_restore(backbone, record, parent)[0])
        model.requires_grad_(True)
        origin = _Origin(mode, backbone, None, ancestors, None)
    else:
        if backbone.config.quantization is not None:
            prepare_model_for_kbit_training(backbone.model, use_gradient_checkpointing=False)
        targets = resolve_targets(backbone.model, lora.targets)
        settings = lora.model_copy(update={"targets": targets})
        if record is not None and record.lora is not None:
            _check_same_lora(settings, record.lora, parent)
        model, base = _restore(backbone, record, parent, settings)
        if not isinstance(model, PeftModel):
            model = _add_lora(model, settings, seed)
        origin = _Origin(mode, backbone, settings, ancestors, base)
    model.recalign_origin = origin
    return model.train()


def load_adapter(backbone: Backbone, directory: Path) -> Any:
    """Apply a saved adapter and return the model for inference: in evaluation mode, nothing trainable.

    Raises:
        ModelError, ArtifactError: as `attach`, for the adapter instead of the parent.
    """
    model, _ = _restore(backbone, _claim(backbone, directory), directory)
    return model.requires_grad_(False).eval()


def save_adapter(model: Any, directory: Path) -> AdapterRecord:
    """Write the adapter of a model that `attach` returned; the same weights give the same bytes."""
    origin: _Origin = model.recalign_origin
    directory.mkdir(parents=True, exist_ok=True)
    base = None
    if origin.mode == "full":
        weights = write_tensors(unique_tensors(model), directory / FULL_WEIGHTS)
    else:
        weights = write_lora(model, origin.backbone, directory, alone=origin.base is None)
        if origin.base is not None:
            base = write_tensors(origin.base, directory / BASE_WEIGHTS)
    record = AdapterRecord(
        mode=origin.mode,
        backbone=public_name(origin.backbone),
        revision=origin.backbone.revision,
        base_fingerprint=origin.backbone.fingerprint,
        lora=origin.lora,
        weights=weights,
        base_weights=base,
        ancestors=origin.ancestors,
    )
    write_json(record.model_dump(mode="json"), directory / RECORD)
    return record


def merged(model: Any) -> Any:
    """The plain model with the LoRA added into its weights; a model without one is returned as it is."""
    return model.merge_and_unload(safe_merge=True) if isinstance(model, PeftModel) else model


def _claim(backbone: Backbone, directory: Path | None, mode: Mode = "lora") -> AdapterRecord | None:
    """Check that the adapter in `directory`, if any, and the mode go with this unused backbone."""
    if backbone.adapted:
        raise ModelError(f"backbone {backbone.name}", found="one that carries an adapter", expected="a fresh one")
    record = None if directory is None else checked_record(directory, backbone)
    full = mode == "full" or (record is not None and (record.mode == "full" or record.base_weights is not None))
    if full and backbone.config.quantization is not None:
        thing = "mode full" if mode == "full" else f"adapter {directory} holds full weights"
        raise ModelError(
            f"{thing}: full weights need an unquantised backbone",
            found=f"quantization {backbone.config.quantization}",
            hint="Use mode lora from the start.",
        )
    backbone.adapted = True
    return record


def _restore(
    backbone: Backbone, record: AdapterRecord | None, directory: Path | None, settings: LoraSettings | None = None
) -> tuple[Any, dict[str, Tensor] | None]:
    """Put a saved adapter on the backbone; return the model and the full weights that came with it, if any."""
    model, full = backbone.model, None
    if record is None or directory is None:
        return model, full
    if record.mode == "full":
        if settings is None:
            model.float()  # as it was trained; a LoRA on top leaves the base in the type that was asked for
        full = read_tensors(directory / FULL_WEIGHTS, record.weights)
    elif record.base_weights is not None:
        full = read_tensors(directory / BASE_WEIGHTS, record.base_weights)
    if full is not None:
        fill(model, full, f"adapter {directory}")
    if record.lora is not None:
        tensors = read_tensors(directory / LORA_WEIGHTS, record.weights)
        model = _add_lora(model, settings or record.lora, seed=0)
        check_fit(tensors, lora_tensors(model), f"adapter {directory}")
        set_peft_model_state_dict(model, tensors, adapter_name=ADAPTER)
    return model, full


def _add_lora(model: Any, settings: LoraSettings, seed: int) -> PeftModel:
    targets = resolve_targets(model, settings.targets)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        fan_in_fan_out=fan_in_fan_out(model, targets),
        task_type="CAUSAL_LM",
    )
    # Seeding seeds every device, so every device's state is put back.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, "adapter", "lora"))
        with warnings.catch_warnings():
            # PEFT 0.21 reads this property under its old name, which users can do nothing about.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            return get_peft_model(model, config, adapter_name=ADAPTER)


def _check_same_lora(wanted: LoraSettings, parent: LoraSettings, directory: Path | None) -> None:
    for field in ("r", "alpha", "targets"):
        asked, there = getattr(wanted, field), getattr(parent, field)
        if asked != there and not (field == "targets" and set(asked) == set(there)):
            raise ModelError(
                f"parent adapter {directory} has another lora.{field}",
                found=str(there),
                expected=str(asked),
                hint=f"Set lora.{field} to the parent's value to continue it.",
            )
