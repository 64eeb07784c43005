"""Weights to and from safetensors, strictly: every name and every shape must agree, or nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recalign.artifacts import hash_file
from recalign.errors import ArtifactError, ModelError

_SHOWN = 3


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors by name; of tied ones (head and embedding) the first name only."""
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write a safetensors file (same tensors, same bytes) and return its SHA-256."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})
    return hash_file(path).sha256


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU. Raises ArtifactError where there is none of that hash."""
    try:
        found = hash_file(path).sha256
        if found != sha256:
            hint = "The file was altered or damaged: make it again or restore it from a copy."
            raise ArtifactError(f"{path} is damaged", found=f"sha256 {found[:12]}", expected=sha256[:12], hint=hint)
        return load_file(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}", found="no such file", expected="weights") from error
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"cannot read {path}", found=str(error)) from error


def check_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise ModelError, with `what` and the first differences, where `found` has other names or shapes."""
    for problem, names in (("lacks", expected.keys() - found.keys()), ("has besides", found.keys() - expected.keys())):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            found_ = f"that it {problem} {len(names)} tensors: {shown}"
            raise ModelError(f"{what} does not fit the backbone", found=found_)
    for name in sorted(expected):
        if found[name].shape != expected[name].shape:
            raise ModelError(
                f"{what} does not fit the backbone",
                found=f"{name} of shape {tuple(found[name].shape)}",
                expected=f"{tuple(expected[name].shape)}",
            )


def fill(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy `tensors` into the model's own (converted to their type and device), after `check_fit`; tied ones follow."""
    own = unique_tensors(model)
    check_fit(tensors, own, what)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
