"""Backbones: any Hugging Face causal language model, from a local directory or the hub's cache.

Nothing of a checkpoint is executed: weights are read from safetensors only, and the architecture must be one that
transformers has itself. A hub id is resolved to a directory first; all that follows never reads the network.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from recalign.errors import ModelError
from recalign.models.config import BackboneConfig
from recalign.models.hf_checkpoint import Checkpoint, inspect_checkpoint, locate
from recalign.models.onednn import accelerate_linears

UNLIMITED = 1 << 30
_POSITION_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "n_ctx",
)
# What transformers raises for a checkpoint that it cannot load.
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, ImportError, KeyError, TypeError, AttributeError, SafetensorError)


@dataclass
class Backbone:
    """A loaded causal language model with its (fast) tokenizer.

    Attributes:
        model: In evaluation mode, on its device. `recalign.models.adapter` changes it in place.
        name: As asked for: a hub id or a path.
        revision: Commit of a hub model; None for a local directory.
        fingerprint: SHA-256 over config, weights and tokenizer: equal for equal files, wherever they lie.
        max_positions: Longest sequence in tokens (`UNLIMITED` where the architecture has no limit).
        pad_id: Token id for padding, which attention never sees: the tokenizer's, or that of another special token.
        adapted: Whether `model` carries an adapter (or other full weights) already; then it is no base any more.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None
    fingerprint: str
    max_positions: int
    pad_id: int
    config: BackboneConfig
    adapted: bool = False

    def twin(self) -> Backbone:
        """The same backbone for another LoRA: modules of its own around the very tensors of this one.

        Full weights would be written over these tensors, so they need a backbone that shares none.
        """
        tensors = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        return replace(self, model=deepcopy(self.model, tensors))


def load_backbone(config: BackboneConfig) -> Backbone:
    """Load a causal language model and its tokenizer.

    Raises:
        ModelError: see `locate`, `inspect_checkpoint` and `resolve_device`; damaged files; no fast tokenizer, or one
            of another model; a quantisation that this machine cannot do.
    """
    device = resolve_device(config.device)
    quantization = _quantization(config, device)
    directory, revision = locate(config.name, config.revision)
    checkpoint = inspect_checkpoint(directory, config.name)
    tokenizer = _load_tokenizer(checkpoint)
    with quiet_progress(checkpoint.weight_bytes < 1 << 30):
        model = _load_model(checkpoint, config, device, quantization)
    rows = int(model.get_input_embeddings().weight.shape[0])
    _check_vocabulary(tokenizer, rows, checkpoint)
    return Backbone(
        model=model.eval(),
        tokenizer=tokenizer,
        name=config.name,
        revision=revision,
        fingerprint=checkpoint.fingerprint(),
        max_positions=position_limit(model.config),
        pad_id=_settle_padding(tokenizer, rows),
        config=config,
    )


@dataclass(frozen=True)
class TokenizerOnly:
    """A backbone whose weights were not loaded, because a server has them; attributes as of `Backbone`."""

    tokenizer: Any
    name: str
    fingerprint: str
    max_positions: int


def load_tokenizer(config: BackboneConfig) -> TokenizerOnly:
    """Load what it takes to make prompts for a backbone. Raises ModelError as `load_backbone`."""
    checkpoint = inspect_checkpoint(locate(config.name, config.revision)[0], config.name)
    tokenizer = _load_tokenizer(checkpoint)
    try:
        read = AutoConfig.from_pretrained(checkpoint.directory, trust_remote_code=False, local_files_only=True)
    except _LOAD_ERRORS as error:
        raise _cannot_load(checkpoint, error) from error
    return TokenizerOnly(tokenizer, config.name, checkpoint.fingerprint(), position_limit(read))


def position_limit(config: Any) -> int:
    """Longest sequence in tokens that a model of this configuration takes; `UNLIMITED` where it has no limit."""
    text = config.get_text_config()
    found = [getattr(text, name, None) for name in _POSITION_FIELDS]
    return next((value for value in found if isinstance(value, int) and value > 0), UNLIMITED)


def resolve_device(name: str) -> torch.device:
    """The torch device of that name (``auto``: a GPU where there is one). Raises ModelError where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError("device", found=repr(name), expected="auto, cpu, cuda, cuda:1 or mps") from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        hint = "Pass --device cpu, or install a torch build for your GPU."
        raise ModelError(f"device {name!r} is not available", found=f"{torch.cuda.device_count()} GPUs", hint=hint)
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The torch type of that name; ``auto`` is bfloat16 on a GPU that computes in it and float32 elsewhere."""
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


@contextmanager
def quiet_progress(quiet: bool = True) -> Iterator[None]:
    """Switch off transformers' progress bars within the context, where they only flash by (small checkpoints)."""
    before = transformers_logging.is_progress_bar_enabled()
    if quiet:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if quiet and before:
            transformers_logging.enable_progress_bar()


def _quantization(config: BackboneConfig, device: torch.device) -> BitsAndBytesConfig | None:
    if config.quantization is None:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        hint = "Install it: pip install 'recalign[quant]', or leave quantization out."
        raise ModelError(f"quantization {config.quantization} needs the package bitsandbytes", hint=hint)
    if device.type != "cuda":
        hint = "Leave quantization out, or run on a machine with a GPU (with pip install 'recalign[quant]')."
        raise ModelError(f"quantization {config.quantization} needs a GPU", found=f"device {device}", hint=hint)
    if config.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    # NF4 with double quantisation: the settings of the QLoRA paper (Dettmers et al. 2023).
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=resolve_dtype(config.dtype, device),
    )


def _load_model(
    checkpoint: Checkpoint, config: BackboneConfig, device: torch.device, quantization: BitsAndBytesConfig | None
) -> Any:
    options: dict[str, Any] = {"dtype": resolve_dtype(config.dtype, device)}
    if config.attn_implementation != "auto":
        options["attn_implementation"] = config.attn_implementation
    elif checkpoint.config.get("attn_logit_softcapping"):
        # sdpa cannot cap attention scores; depending on the version it raises or leaves the cap out.
        options["attn_implementation"] = "eager"
    if quantization is not None:
        options |= {"quantization_config": quantization, "device_map": {"": device}}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            checkpoint.directory,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
        if quantization is None:
            accelerate_linears(model.to(device))
    except _LOAD_ERRORS as error:
        raise _cannot_load(checkpoint, error) from error
    # transformers fills what a checkpoint lacks with random numbers and only logs that.
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in report[problem]):
            raise ModelError(
                f"backbone {checkpoint.name}: the weights do not fill the model that config.json describes",
                found=f"{len(names)} {problem.replace('_', ' ')}, e.g. {names[0]}",
                hint="Use a complete checkpoint.",
            )
    return model


def _load_tokenizer(checkpoint: Checkpoint) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.directory, trust_remote_code=False, local_files_only=True)
    except _LOAD_ERRORS as error:
        raise _cannot_load(checkpoint, error, "tokenizer of backbone") from error
    if not getattr(tokenizer, "is_fast", False):
        thing = f"tokenizer of backbone {checkpoint.name}"
        hint = "Convert it: AutoTokenizer.from_pretrained(…).save_pretrained(…) with a tokenizer.json."
        raise ModelError(thing, found="a slow one", expected="a fast one", hint=hint)
    return tokenizer


def _cannot_load(checkpoint: Checkpoint, error: BaseException, what: str = "backbone") -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    found = reason if len(reason) <= 300 else f"{reason[:300]}…"
    return ModelError(f"cannot load the {what} {checkpoint.name}", found=found)


def _check_vocabulary(tokenizer: Any, rows: int, checkpoint: Checkpoint) -> None:
    """Ordinary tokens must have an embedding. Added control tokens may lie beyond (Gemma 3's text models have one)."""
    added = set(tokenizer.added_tokens_decoder)
    highest = max((index for index in tokenizer.get_vocab().values() if index not in added), default=-1)
    if highest >= rows:
        raise ModelError(
            f"the tokenizer of backbone {checkpoint.name} belongs to another model",
            found=f"token ids up to {highest}",
            expected=f"ids below {rows}, the number of embeddings",
        )


def _settle_padding(tokenizer: Any, rows: int) -> int:
    """Give the tokenizer a padding token where it has none (or one without an embedding); return the id to pad with."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        for role in ("eos_token", "unk_token", "bos_token"):
            token, index = getattr(tokenizer, role), getattr(tokenizer, f"{role}_id")
            if token is not None and index is not None and index < rows:
                tokenizer.pad_token = token
                break
        else:
            # No special token at all. Making an ordinary one the padding token would change how text is split, and any
            # id serves: padding is masked.
            return 0
    return int(tokenizer.pad_token_id)
