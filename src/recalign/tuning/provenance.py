"""What a stage is made from, and whose labels it has seen.

A model artefact records under ``labels_seen`` how many labels of each data set (by fingerprint) it and its parents were
trained or selected on. A zero-shot promise is checked against that record before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from recalign.artifacts import Manifest, fingerprint, hash_file, read_manifest
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError, DataError
from recalign.models.config import BackboneConfig
from recalign.prompting.template import PromptTemplate
from recalign.tuning.config import STAGES, CotStage, InstructionStage, RecStage, StageConfig
from recalign.tuning.curriculum import read_cot
from recalign.tuning.instructions import generate_instructions
from recalign.tuning.model_artifact import KIND


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What a stage is made from.

    Attributes:
        config: The stage's full configuration.
        data: Training data sets; the last one's catalogue and domain stay with the model.
        backbone: Its name is a local path or a hub id.
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


class LabelCounts(TypedDict):
    """How many labels of a data set were seen, by split; `data` is its name for people."""

    data: str
    train: int
    valid: int


Labels = dict[str, LabelCounts]  # by the fingerprint of the data set


@dataclass(frozen=True, slots=True)
class StageIdentity:
    """Everything that a stage is a function of.

    Attributes:
        config: What its manifest records, as plain JSON values.
        parents: Fingerprints of what it is made from.
    """

    config: Mapping[str, object]
    parents: Mapping[str, str]


def labels_seen(inputs: StageInputs) -> Labels:
    """How many labels of each data set this model and its parents have seen."""
    seen: Labels = {}
    if inputs.parent is not None:
        seen = json.loads(json.dumps(read_manifest(inputs.parent, kind=KIND, verify=False).config["labels_seen"]))

    def see(key: str, name: str, *, train: int = 0, valid: int = 0) -> None:
        counts = seen.setdefault(key, {"data": name, "train": 0, "valid": 0})
        counts["train"], counts["valid"] = max(counts["train"], train), max(counts["valid"], valid)

    match inputs.config:
        case CotStage():
            for key, taught in read_cot(taught_data(inputs))[1].config["labels_seen"].items():
                see(key, taught["data"], train=taught["train"], valid=taught["valid"])
        case RecStage() as config:
            for data in inputs.data:
                valid = len(data.frame("valid")) if config.selection == "source" else 0
                see(data.fingerprint, data.path.name, train=config.shots or len(data.frame("train")), valid=valid)
            if config.selection == "paper" and inputs.validation is not None:
                target = inputs.validation
                see(target.fingerprint, target.path.name, valid=len(target.frame("valid")))
    return seen


def check_data(config: StageConfig, data: Sequence[SampleSet]) -> None:
    """Check what needs no model, so that nobody waits for a backbone first.

    Raises:
        ConfigError: No such template, or none in the language of a data set.
        DataError: A data set has no training samples, or nothing to make instructions from.
    """
    template = PromptTemplate.load(config.template)
    for samples in data:
        template.instruction(samples.domain, (), "title", 1)
        if isinstance(config, RecStage) and samples.frame("train").is_empty():
            raise DataError(f"train split of {samples.path}", found="no samples", expected="at least one")
        if isinstance(config, InstructionStage) and config.instruction_file is None:
            generate_instructions(samples.catalog, samples.domain, n=1, seed=config.seed)


def check_unseen(inputs: StageInputs, labels: Labels) -> None:
    """Check the promise of `StageInputs.unseen` against `labels_seen`. Raises ConfigError where it is broken."""
    for data in inputs.unseen:
        counts = labels.get(data.fingerprint)
        if counts is not None:
            raise ConfigError(
                f"zero-shot stage for {data.path}",
                found=f"{counts['train']} training and {counts['valid']} validation labels of it seen",
                expected="none",
                hint="Train and select on the source alone (selection = 'source' or 'last')",
            )


def stage_identity(inputs: StageInputs, backbone: str, labels: Labels) -> StageIdentity:
    """The identity of a stage on the backbone of that fingerprint. Files that it names count by their content.

    Raises:
        ConfigError, DataError: A template or instruction file cannot be read.
    """
    config = inputs.config
    parents = {f"data-{index}": data.fingerprint for index, data in enumerate(inputs.data)}
    parents["backbone"] = backbone
    if config.template.endswith(".toml"):
        parents["template"] = fingerprint(PromptTemplate.load(config.template).to_toml())
    if isinstance(config, InstructionStage) and config.instruction_file is not None:
        path = Path(config.instruction_file)
        try:
            parents["instructions"] = hash_file(path).sha256
        except OSError as error:
            found = error.strerror or str(error)
            raise DataError(f"instruction file {path}", found=found, expected="a file") from error
    if isinstance(config, CotStage):
        parents["cot"] = read_manifest(taught_data(inputs), verify=False).fingerprint
    if inputs.parent is not None:
        parents["parent"] = read_manifest(inputs.parent, kind=KIND, verify=False).fingerprint
    if inputs.validation is not None and isinstance(config, RecStage) and config.selection == "paper":
        parents["validation"] = inputs.validation.fingerprint
    recorded = {
        "stage": config.model_dump(mode="json"),
        "backbone": inputs.backbone.model_dump(mode="json", exclude={"name", "device"}),
        "domain": inputs.data[-1].domain.model_dump(),
        "labels_seen": labels,
        "unseen": sorted(data.fingerprint for data in inputs.unseen),
    }
    return StageIdentity(recorded, parents)


def is_outdated(manifest: Manifest) -> bool:
    """Whether a model's stage is recorded with the keys of all kinds at once, as versions before 0.2 did."""
    stage = manifest.config["stage"]
    return not stage.keys() <= STAGES[stage["kind"]].model_fields.keys()


def taught_data(inputs: StageInputs) -> Path:
    """The chain-of-thought data of a stage of kind "cot". Raises ConfigError where there is none."""
    if inputs.cot is None:
        raise ConfigError(
            "chain-of-thought stage without data",
            expected="what a teacher wrote",
            hint="Run: recalign teach DATA --output DIR, then pass --cot DIR (in an experiment: teacher = 'NAME').",
        )
    return inputs.cot
