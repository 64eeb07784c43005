"""What a stage is made from, and whose labels it has seen.

A model artefact records under ``labels_seen`` how many labels of each data set (by fingerprint) it and its parents were
trained or selected on. A zero-shot promise is checked against that record before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recalign.artifacts import fingerprint, hash_file, read_manifest
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError
from recalign.models.config import BackboneConfig
from recalign.prompting.template import PromptTemplate
from recalign.tuning.config import StageConfig
from recalign.tuning.curriculum import read_cot
from recalign.tuning.instructions import generate_instructions
from recalign.tuning.model_artifact import KIND


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What a stage is made from.

    Attributes:
        config: The stage's full configuration.
        data: Training data sets; several for a multi-domain stage. The last one's catalogue and domain stay with the
            model.
        backbone: The backbone; its name is a local path or a hub id.
        parent: Model artefact of the stage before, or None to start from the bare backbone.
        validation: The target data set, for selection "paper" alone: its validation labels are then read.
        cot: Chain-of-thought data of `recalign teach`, for kind "cot".
        unseen: Data sets whose labels no stage may have seen (zero-shot); checked, and recorded in the manifest.
    """

    config: StageConfig
    data: Sequence[SampleSet]
    backbone: BackboneConfig
    parent: Path | None = None
    validation: SampleSet | None = None
    unseen: Sequence[SampleSet] = field(default=())
    cot: Path | None = None


def labels_seen(inputs: StageInputs) -> dict[str, dict[str, Any]]:
    """How many labels of each data set (by fingerprint) this model and its parents have seen, by split."""
    seen: dict[str, dict[str, Any]] = {}
    if inputs.parent is not None:
        seen = json.loads(json.dumps(read_manifest(inputs.parent, kind=KIND, verify=False).config["labels_seen"]))
    if inputs.config.kind == "instruction":
        return seen
    if inputs.config.kind == "cot":
        for key, taught in read_cot(_cot(inputs))[1].config["labels_seen"].items():
            entry = seen.setdefault(key, {"data": taught["data"], "train": 0, "valid": 0})
            entry.update({split: max(entry[split], taught[split]) for split in ("train", "valid")})
        return seen
    shots = inputs.config.shots
    for data in inputs.data:
        entry = seen.setdefault(data.fingerprint, {"data": data.path.name, "train": 0, "valid": 0})
        entry["train"] = max(entry["train"], shots or len(data.frame("train")))
        if inputs.config.selection == "source":
            entry["valid"] = max(entry["valid"], len(data.frame("valid")))
    if inputs.config.selection == "paper" and inputs.validation is not None:
        data = inputs.validation
        entry = seen.setdefault(data.fingerprint, {"data": data.path.name, "train": 0, "valid": 0})
        entry["valid"] = max(entry["valid"], len(data.frame("valid")))
    return seen


def check_data(config: StageConfig, data: Sequence[SampleSet]) -> None:
    """Check what can be told without a model, so that nobody waits for a backbone first.

    Raises:
        ConfigError: No such template, or none in the language of a data set.
        DataError: A data set has no training samples, or nothing to make instructions from.
    """
    template = PromptTemplate.load(config.template)
    for each in data:
        template.instruction(each.domain, (), "title", 1)
        if config.kind == "rec" and each.frame("train").is_empty():
            raise DataError(f"train split of {each.path}", found="no samples", expected="at least one")
        if config.kind == "instruction" and config.instruction_file is None:
            generate_instructions(each.catalog, each.domain, n=1, seed=config.seed)


def check_unseen(inputs: StageInputs, labels: dict[str, dict[str, Any]]) -> None:
    """Check the promise of `StageInputs.unseen` against `labels_seen`. Raises ConfigError where it is broken."""
    for data in inputs.unseen:
        entry = labels.get(data.fingerprint)
        if entry is not None:
            raise ConfigError(
                f"zero-shot stage for {data.path}",
                found=f"{entry['train']} training and {entry['valid']} validation labels of it seen",
                expected="none",
                hint="Train and select on the source alone (selection = 'source' or 'last')",
            )


def owner_of(inputs: StageInputs, backbone: str, labels: dict[str, Any]) -> dict[str, Any]:
    """Everything the stage is a function of; `backbone` is the backbone's fingerprint.

    Files that the configuration names count by their content.

    Raises:
        ConfigError, DataError: A template or instruction file cannot be read.
    """
    parents = {f"data-{index}": data.fingerprint for index, data in enumerate(inputs.data)}
    parents["backbone"] = backbone
    if inputs.config.template.endswith(".toml"):
        parents["template"] = fingerprint(PromptTemplate.load(inputs.config.template).to_toml())
    if inputs.config.kind == "instruction" and inputs.config.instruction_file is not None:
        parents["instructions"] = _content(Path(inputs.config.instruction_file))
    if inputs.config.kind == "cot":
        parents["cot"] = read_manifest(_cot(inputs), verify=False).fingerprint
    if inputs.parent is not None:
        parents["parent"] = read_manifest(inputs.parent, kind=KIND, verify=False).fingerprint
    if inputs.validation is not None and inputs.config.selection == "paper":
        parents["validation"] = inputs.validation.fingerprint
    return {
        "stage": inputs.config.model_dump(mode="json"),
        "backbone": inputs.backbone.model_dump(mode="json", exclude={"name", "device"}),
        "domain": inputs.data[-1].domain.model_dump(),
        "labels_seen": labels,
        "unseen": sorted(data.fingerprint for data in inputs.unseen),
        "parents": parents,
    }


def _cot(inputs: StageInputs) -> Path:
    if inputs.cot is None:
        raise ConfigError(
            "chain-of-thought stage without data",
            expected="what a teacher wrote",
            hint="Run: recalign teach DATA --output DIR, then pass --cot DIR (in a recipe: teacher = 'NAME').",
        )
    return inputs.cot


def _content(path: Path) -> str:
    try:
        return hash_file(path).sha256
    except OSError as error:
        raise DataError(f"instruction file {path}", found=error.strerror or str(error), expected="a file") from error
