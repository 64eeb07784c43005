"""The model artefact (kind ``model``): what a stage writes and what `evaluate`, `recommend` and the next stage read.

::

    adapter/          PEFT format (or model.safetensors in mode full), with the fingerprint of its base
    template.toml     the template it was tuned with: prompts are always rendered with this one
    items.parquet     the catalogue of the data it was tuned on
    metrics.jsonl     losses, learning rates, validations
    manifest.json     configuration, labels_seen, parents, hashes; every read of a test set is logged in it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from recalign.artifacts import Manifest, read_manifest
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import SampleSet
from recalign.errors import ArtifactError
from recalign.models.adapter import load_adapter
from recalign.models.backbone import Backbone, BackboneConfig, load_backbone
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import Domain, PromptTemplate
from recalign.scoring.yes_no import ScoreKind, YesNoScorer

KIND = "model"


def mode_of(manifest: Manifest) -> str:
    """ "lora" or "full"."""
    return str(manifest.config["stage"]["mode"])


def base_of(directory: Path) -> Path | None:
    """The full-parameter model artefact that the model in `directory` stands on, or None for the bare backbone."""
    location = read_manifest(directory, kind=KIND, verify=False).config["location"]["base"]
    return (directory / location).resolve() if location else None


def backbone_of(directory: Path) -> BackboneConfig:
    """The configuration of the backbone that a model was tuned on; a local one by its absolute path."""
    manifest = read_manifest(directory, kind=KIND, verify=False)
    name = manifest.config["location"]["backbone"]
    if (directory / name).is_dir():
        name = str((directory / name).resolve())
    return BackboneConfig(name=name, **manifest.config["backbone"])


def load_base(backbone: Backbone, parent: Path | None, mode: str) -> Path | None:
    """Load the weights that a child of `parent` stands on into `backbone`; returns their artefact's directory.

    A LoRA child of a full-parameter model stands on it; a child of a LoRA model stands on what its parent stands on.
    """
    if parent is None:
        return None
    manifest = read_manifest(parent, kind=KIND)
    base = parent if mode_of(manifest) == "full" and mode == "lora" else base_of(parent)
    if base is not None:
        read_manifest(base, kind=KIND)
        load_adapter(backbone, base / "adapter")
    return base


def parent_adapter(parent: Path | None, mode: str) -> Path | None:
    """The adapter directory that a child continues from, or None where it stands on the parent instead."""
    if parent is None:
        return None
    own = mode_of(read_manifest(parent, kind=KIND, verify=False))
    return None if own == "full" and mode == "lora" else parent / "adapter"


def load_model(
    directory: Path, *, backbone: str | None = None, device: str = "auto"
) -> tuple[nn.Module, Backbone, Manifest]:
    """Load the tuned model of an artefact, in evaluation mode.

    Args:
        directory: The model artefact.
        backbone: Path or hub id of the backbone, where it is no longer where the artefact says.
        device: "auto", "cpu" or "cuda".

    Raises:
        ArtifactError: The artefact (or the one it stands on) is missing, altered or incomplete.
        ModelError: The backbone cannot be loaded, or is not the one that the adapter was tuned on.
    """
    manifest = read_manifest(directory, kind=KIND)
    config = backbone_of(directory)
    loaded = load_backbone(config.model_copy(update={"name": backbone or config.name, "device": device}))
    base = base_of(directory)
    if base is not None:
        if not base.exists():
            raise ArtifactError(
                f"model {directory}", found=f"no {base}", expected="the full-parameter model that it stands on"
            )
        read_manifest(base, kind=KIND)
        load_adapter(loaded, base / "adapter")
    return load_adapter(loaded, directory / "adapter"), loaded, manifest


def load_catalog(directory: Path) -> ItemCatalog:
    """The catalogue stored with a model. Raises ArtifactError."""
    read_manifest(directory, kind=KIND, verify=False)
    return ItemCatalog(pl.read_parquet(directory / "items.parquet"))


def load_scorer(
    directory: Path,
    data: SampleSet | None = None,
    *,
    kind: ScoreKind = "log-odds",
    backbone: str | None = None,
    device: str = "auto",
) -> YesNoScorer:
    """The tuned model as a `Scorer`, over its own catalogue or that of `data` (with the data's domain words).

    Raises:
        ArtifactError, ModelError: See `load_model`.
    """
    model, loaded, manifest = load_model(directory, backbone=backbone, device=device)
    domain: dict[str, Any] = dict(data.domain) if data is not None else manifest.config["domain"]
    encoder = PromptEncoder(
        PromptTemplate.load(directory / "template.toml"),
        Domain(**domain),
        loaded.tokenizer,
        max_length=min(manifest.config["stage"]["max_length"], loaded.max_positions),
    )
    catalog = data.catalog if data is not None else load_catalog(directory)
    return YesNoScorer(model, encoder, catalog, name=directory.name, kind=kind)
