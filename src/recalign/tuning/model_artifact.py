"""The model artefact (kind ``model``): what a stage writes and what `evaluate`, `recommend` and the next stage read.

::

    adapter/          see `recalign.models.adapter`: PEFT format, or model.safetensors in mode full
    template.toml     the template it was tuned with: prompts are always rendered with this one
    items.parquet     the catalogue of the data it was tuned on
    knowledge.parquet where its template states facts: how its training data liked each title (`TitleKnowledge`)
    metrics.jsonl     losses, learning rates, validations
    manifest.json     configuration, labels_seen, parents, hashes; every read of a test set is logged in it
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl
from torch import nn

from recalign.artifacts import Manifest, read_manifest
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.knowledge import TitleKnowledge
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.models.adapter import checked_record, load_adapter, read_record
from recalign.models.backbone import Backbone, TokenizerOnly, load_backbone, load_tokenizer
from recalign.models.config import BackboneConfig, Precision
from recalign.models.precision import for_precision, in_precision
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.cuts import warn_of_cuts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.scoring.prompted import PromptScorer, ScoreKind
from recalign.scoring.servers import Endpoint
from recalign.scoring.yes_no import YesNoScorer

KIND = "model"
KNOWLEDGE_FILE: Final = "knowledge.parquet"


def model_directory(run: Path) -> Path:
    """`run` itself, or the only model of an experiment's run. Raises ConfigError where there are several."""
    models = sorted(path.parent for path in run.glob("models/*/manifest.json"))
    if (run / "manifest.json").exists() or not models:
        return run
    if len(models) > 1:
        raise ConfigError(
            f"run {run}",
            found=f"{len(models)} models in it: {', '.join(model.name for model in models)}",
            expected="the directory of one",
            hint=f"For example {models[-1]}",
        )
    return models[0]


def backbone_of(directory: Path) -> BackboneConfig:
    """The configuration of the backbone that a model was tuned on; a local one by its absolute path."""
    manifest = read_manifest(directory, kind=KIND, verify=False)
    name = manifest.config["location"]["backbone"]
    if (directory / name).is_dir():
        name = str((directory / name).resolve())
    return BackboneConfig(name=name, **manifest.config["backbone"])


class SharedBackbones:
    """Loads a backbone once for all models that are a LoRA on it. Their weights lie in memory once, to be read only."""

    def __init__(self) -> None:
        self._loaded: list[Backbone] = []

    def load(self, config: BackboneConfig, directory: Path) -> Backbone:
        """The backbone of the model in `directory`, for its adapter. Raises what `load_backbone` raises."""
        record = read_record(directory / "adapter")
        if record.mode == "full" or record.base_weights is not None:
            return load_backbone(config)  # its weights take the place of the backbone's
        for loaded in self._loaded:
            moved = config.model_copy(update={"name": loaded.config.name, "revision": loaded.config.revision})
            if loaded.fingerprint == record.base_fingerprint and loaded.config == moved:
                return loaded.twin()
        self._loaded.append(load_backbone(config))
        return self._loaded[-1].twin()


def load_model(
    directory: Path,
    *,
    backbone: str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    shared: SharedBackbones | None = None,
) -> tuple[nn.Module, Backbone, Manifest]:
    """Load the tuned model of an artefact, in evaluation mode.

    Args:
        directory: The model artefact.
        backbone: Path or hub id of the backbone, where it is no longer where the artefact says.
        device: See `BackboneConfig`.
        precision: The arithmetic to score in; see `recalign.models.precision`.
        shared: Backbones that other models may share with this one; by default it has its own, and in another
            `precision` than auto always: its weights are changed.

    Raises:
        ArtifactError: The artefact is missing, altered or incomplete.
        ModelError: The backbone cannot be loaded, or is not the one that the adapter was tuned on, or `precision` is
            not for this device or model.
    """
    manifest = read_manifest(directory, kind=KIND)
    config = backbone_of(directory)
    config = config.model_copy(update={"name": backbone or config.name, "device": device})
    if shared is None or precision != "auto":
        loaded = load_backbone(for_precision(config, precision))
    else:
        loaded = shared.load(config, directory)
    return in_precision(load_adapter(loaded, directory / "adapter"), precision), loaded, manifest


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
    precision: Precision = "auto",
    shared: SharedBackbones | None = None,
    endpoint: str | None = None,
) -> PromptScorer:
    """The tuned model as a `Scorer`, over its own catalogue or that of `data` (with the data's domain words).

    With an `endpoint` (see `recalign.scoring.servers.Endpoint.parse`) the model is asked there, as `directory` says:
    its prompts, its answers. No weights are loaded then; the backbone is needed for its tokenizer.

    Raises:
        ArtifactError, ModelError: See `load_model`; the endpoint does not answer.
        ConfigError: The endpoint is none, or a device or precision is asked for with one.
    """
    if endpoint is None:
        model, loaded, _ = load_model(directory, backbone=backbone, device=device, precision=precision, shared=shared)
        return scorer_around(model, loaded, directory, data, kind=kind)
    if (device, precision) != ("auto", "auto"):
        expected = "auto: the server has its own"
        raise ConfigError("--endpoint", found=f"device {device}, precision {precision}", expected=expected)
    from recalign.scoring.remote import RemoteScorer  # loads a client for HTTP

    place = Endpoint.parse(endpoint)
    read_manifest(directory, kind=KIND)
    config = backbone_of(directory)
    unloaded = load_tokenizer(config.model_copy(update={"name": backbone or config.name}))
    checked_record(directory / "adapter", unloaded)
    prompts = _prompting(directory, unloaded, data)
    return RemoteScorer(place, prompts.encoder, prompts.catalog, name=directory.name, kind=kind, finder=prompts.finder)


def scorer_around(
    model: nn.Module,
    backbone: Backbone,
    directory: Path,
    data: SampleSet | None = None,
    *,
    kind: ScoreKind = "log-odds",
) -> YesNoScorer:
    """The `Scorer` around the loaded model of an artefact; see `load_scorer`."""
    prompts = _prompting(directory, backbone, data)
    return YesNoScorer(model, prompts.encoder, prompts.catalog, name=directory.name, kind=kind, finder=prompts.finder)


def load_knowledge(directory: Path) -> TitleKnowledge | None:
    """What the model knows of titles, or None. Raises ArtifactError, DataError."""
    stated = KNOWLEDGE_FILE in read_manifest(directory, kind=KIND, verify=False).files
    return TitleKnowledge.read(directory / KNOWLEDGE_FILE) if stated else None


def _prompting(directory: Path, backbone: Backbone | TokenizerOnly, data: SampleSet | None) -> DomainPrompts:
    """How a model is asked, and about which items."""
    manifest = read_manifest(directory, kind=KIND, verify=False)
    domain = data.domain if data is not None else Domain.model_validate(manifest.config["domain"])
    encoder = PromptEncoder(
        PromptTemplate.load(directory / "template.toml"),
        domain,
        backbone.tokenizer,
        max_length=min(manifest.config["stage"]["max_length"], backbone.max_positions),
    )
    catalog = data.catalog if data is not None else load_catalog(directory)
    warn_of_cuts(encoder.shown.cut(catalog.frame["text"]), encoder.max_length)
    return DomainPrompts.over(encoder, catalog, load_knowledge(directory))
