"""The baseline artefact (kind ``baseline``): trained from a `SampleSet`, evaluated like a model.

::

    weights.safetensors   the network
    items.parquet         the items trained on, in the order of their embedding rows
    metrics.jsonl         loss and validation AUC per round of each weight decay
    manifest.json         configuration, labels_seen, parents (data, text encoder), what was kept, test reads

Training takes seconds to a minute (not with text), so there are no checkpoints: what is interrupted starts again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch

from recalign.artifacts import Json, Manifest, already, find_finished, read_manifest, write_directory
from recalign.baselines.config import BaselineConfig
from recalign.baselines.items import ItemIndex, embedding_rows, trained_items
from recalign.baselines.network import ItemLookup, Network, SequenceScorer
from recalign.baselines.text_encoder import TextEncoder, TextFeatures
from recalign.baselines.training import Fit, Round, SampleArrays, train
from recalign.data.catalog import ItemCatalog
from recalign.data.samples import Sample, SampleSet, choose_shots
from recalign.errors import ConfigError, DataError, ModelError
from recalign.models.backbone import resolve_device
from recalign.models.weights import fill, read_tensors, unique_tensors, write_tensors
from recalign.seeding import derive_seed, generator

KIND: Final = "baseline"
_WEIGHTS, _ITEMS = "weights.safetensors", "items.parquet"


def train_baseline(
    data: SampleSet,
    config: BaselineConfig,
    output: Path,
    *,
    text_encoder: str | None = None,
    revision: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    note: Callable[[str], None] = lambda text: None,
    progress: Callable[[Round], None] | None = None,
) -> Manifest:
    """Train a baseline on the train split and write its artefact to `output`.

    The validation split is read where `config.selection` is "paper". What the same inputs have left in `output` is kept
    as it is, and `note` is told; `overwrite` replaces what is there. Results are equal to the last bit on the CPU with
    the same number of threads. `text_encoder` is a local directory or a hub id, for GRU-BERT and DROS-BERT; `device` is
    "cpu" (these networks are small), "auto" or "cuda". `progress` is told each round.

    Raises:
        ConfigError: A text encoder is missing or not wanted, or selection "last" with several weight decays.
        DataError: No, or too few, training samples; nothing to validate on, or only one class of it.
        ModelError: The text encoder cannot be loaded, or the device is not there.
        ArtifactError: `output` is taken or cannot be written.
    """
    _check(config, text_encoder)
    samples = choose_shots(data.samples("train"), config.shots, config.seed)
    if not samples:
        raise DataError(f"train split of {data.path}", found="no samples", expected="at least one")
    validation = _validation(data, config)
    encoder = TextEncoder(text_encoder, revision, device=device) if text_encoder is not None else None
    made_of, parents = _identity(data, config, encoder, len(samples), len(validation))
    done = find_finished(output, KIND, config=made_of, parents=parents, replace=overwrite)
    if done is not None:
        note(already("trained", output))
        return done
    items = _items(data.catalog, trained_items(samples))
    network = _network(config, len(items), encoder, resolve_device(device))
    lookup = _lookup(network, items, data.catalog, encoder)
    index = ItemIndex(data.catalog)
    learnt, checked = (_arrays(index, part, config.max_history) for part in (samples, validation))
    fit = train(network, learnt, checked if validation else None, config, lookup, progress)
    return _write(output, made_of, parents, fit, items, encoder, overwrite=overwrite)


def load_baseline(
    directory: Path,
    data: SampleSet | None = None,
    *,
    text_encoder: str | None = None,
    device: str = "cpu",
    name: str = "",
) -> SequenceScorer:
    """A trained baseline as a `Scorer`, over the items of `data` or those it was trained on.

    Items of another dataset are found by title (`embedding_rows`). `text_encoder` says where the text encoder is, when
    it is no longer where the artefact says; the `name` in tables is the directory's by default.

    Raises:
        ArtifactError: The artefact is missing, altered or incomplete.
        ModelError: The text encoder cannot be loaded, or is another one.
    """
    manifest = read_manifest(directory, kind=KIND)
    config = BaselineConfig.from_stored(manifest.config["baseline"])
    encoder = _encoder_of(directory, manifest, text_encoder, device) if config.text else None
    items = ItemCatalog.read(directory / _ITEMS)
    network = _network(config, len(items), encoder, resolve_device(device))
    tensors = read_tensors(directory / _WEIGHTS, manifest.files[_WEIGHTS].sha256)
    fill(network, tensors, f"baseline {directory}")
    network.eval()
    catalog = data.catalog if data is not None else items
    lookup = _lookup(network, items.frame, catalog, encoder)
    return SequenceScorer(network, ItemIndex(catalog), lookup, config.max_history, name or directory.name)


def _check(config: BaselineConfig, text_encoder: str | None) -> None:
    if config.text and text_encoder is None:
        expected, hint = "a local directory or hub id, such as google-bert/bert-base-uncased", "Pass --text-encoder."
        raise ConfigError(f"baseline {config.model}", found="no text encoder", expected=expected, hint=hint)
    if not config.text and text_encoder is not None:
        raise ConfigError(f"baseline {config.model} reads no text", found=f"text encoder {text_encoder}")
    if config.selection == "last" and len(config.weight_decays) > 1:
        found = f"{len(config.weight_decays)} weight decays, and no validation to choose by"
        expected = "one, for example weight_decays = [1e-5]"
        raise ConfigError("baseline with selection 'last'", found=found, expected=expected)


def _validation(data: SampleSet, config: BaselineConfig) -> list[Sample]:
    """The validation samples (a seeded subset where there are very many); none for selection "last"."""
    if config.selection == "last":
        return []
    samples = data.samples("valid")
    if not samples:
        hint = "Prepare with one, or select nothing: selection = 'last'."
        raise DataError(f"validation split of {data.path}", found="no samples", hint=hint)
    if len(samples) <= config.max_eval_samples:
        return samples
    chosen = generator(config.seed, "baseline", "validation").permutation(len(samples))[: config.max_eval_samples]
    return [samples[place] for place in sorted(chosen)]


def _arrays(index: ItemIndex, samples: list[Sample], length: int) -> SampleArrays:
    histories = index.histories([sample.history for sample in samples], length)
    targets = index.places(sample.item_id for sample in samples)
    return SampleArrays(histories, targets, np.array([sample.label for sample in samples], dtype=np.float32))


def _items(catalog: ItemCatalog, trained: tuple[str, ...]) -> pl.DataFrame:
    """Rows of the catalogue, one per trained item, in the order of embedding rows."""
    wanted = pl.DataFrame({"item_id": list(trained)}, schema={"item_id": pl.String})
    return wanted.join(catalog.frame, on="item_id", how="left", maintain_order="left").select(catalog.frame.columns)


def _network(config: BaselineConfig, items: int, encoder: TextEncoder | None, device: torch.device) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "baseline", "weights"))
        network = Network(config, items, encoder.width if encoder else 0)
    return network.to(device)


def _lookup(network: Network, trained: pl.DataFrame, catalog: ItemCatalog, encoder: TextEncoder | None) -> ItemLookup:
    text = TextFeatures(encoder, catalog) if encoder is not None else None
    return ItemLookup(embedding_rows(trained, catalog), text, next(network.parameters()).device)


def _identity(
    data: SampleSet, config: BaselineConfig, encoder: TextEncoder | None, train: int, valid: int
) -> tuple[Json, dict[str, str]]:
    """All that the artefact is a function of: its configuration, and its parents.

    Labels are counted as for tuned models (`recalign.tuning.provenance`).
    """
    parents = {"data": data.fingerprint}
    if encoder is not None:
        parents["text_encoder"] = encoder.fingerprint
    seen = {data.fingerprint: {"data": data.path.name, "train": train, "valid": valid}}
    return {"baseline": config.stored(), "labels_seen": seen}, parents


def _write(
    output: Path,
    config: Json,
    parents: Mapping[str, str],
    fit: Fit,
    items: pl.DataFrame,
    encoder: TextEncoder | None,
    *,
    overwrite: bool,
) -> Manifest:
    info: Json = {
        "seconds": round(fit.seconds, 2),
        "weight_decay": fit.kept.weight_decay,
        "epoch": fit.kept.epoch,
        "valid_auc": fit.kept.valid_auc,
        "test_reads": [],
    }
    if encoder is not None:  # where it lies decides nothing, so it is no part of the fingerprint
        local = Path(encoder.name).is_dir()
        info["text_encoder"] = os.path.relpath(encoder.name, output) if local else encoder.name
        info["text_encoder_revision"] = encoder.revision
    with write_directory(output, KIND, config=config, parents=parents, info=info, overwrite=overwrite) as staging:
        write_tensors(unique_tensors(fit.network), staging / _WEIGHTS)
        items.write_parquet(staging / _ITEMS)
        lines = "".join(json.dumps(asdict(done)) + "\n" for done in fit.log)
        (staging / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return read_manifest(output, kind=KIND)


def _encoder_of(directory: Path, manifest: Manifest, given: str | None, device: str) -> TextEncoder:
    """The encoder that the baseline was trained with. Raises ModelError where it is another one."""
    name = given or manifest.info["text_encoder"]
    local = directory / name
    still_there = given is None and local.is_dir()
    revision = None if given is not None or still_there else manifest.info["text_encoder_revision"]
    encoder = TextEncoder(str(local.resolve()) if still_there else name, revision, device=device)
    known = manifest.parents["text_encoder"]
    if encoder.fingerprint != known:
        expected = f"the one that {directory} was trained with ({known[:12]})"
        raise ModelError(f"text encoder {name}", found=f"another one ({encoder.fingerprint[:12]})", expected=expected)
    return encoder
