"""Tuning one stage from paths and names: what `recalign tune` does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from recalign.artifacts import already
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.experiment.processes import TuneRequest, tune_together
from recalign.experiment.progress import Reporter, of_training
from recalign.experiment.tune_estimate import TuneEstimate, estimate_tuning
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.settings import Settings, merged, validated
from recalign.tuning.backbones import BACKBONES, NANO, resolve_backbone
from recalign.tuning.backbones.nano import is_built
from recalign.tuning.config import RecStage, stage_config
from recalign.tuning.joining import Place, joined, launched
from recalign.tuning.model_artifact import backbone_of
from recalign.tuning.provenance import StageInputs, check_data
from recalign.tuning.stage import find_finished, tune_stage
from recalign.tuning.world import World

WHERE = "options of recalign tune"
FEW_SAMPLES: Final = 100_000
SMALL_NANO: Final[Settings] = {"hidden": 128, "layers": 2, "intermediate": 384, "steps": 80}
NANO_BATCH: Final = 192
NANO_STAGE: Final[Settings] = {
    "batch_size": NANO_BATCH,
    "optim": {"lr": 1e-3, "schedule": "cosine", "betas": [0.9, 0.98]},
    "sampling": {"targets_per_history": 12},
    "pair_weight": 0.5,  # docs/results.md, "What was tried"
}
EPOCHS, MOST_STEPS = 3, 240


def tune(
    data: Sequence[str | Path],
    output: str | Path,
    *,
    backbone: str | Mapping[str, object] = "nano",
    parent: str | Path | None = None,
    validation: str | Path | None = None,
    cot: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
    restart: bool = False,
    processes: int | None = None,
    shard: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Tune one stage on prepared data and write its model artefact.

    Args:
        data: Prepared data sets; the last one's catalogue and domain stay with the model.
        output: Directory of the model.
        backbone: "nano", "smollm2", a checkpoint directory or a hub id; or the settings of a `BackboneConfig`. With a
            parent and the name of a plug-in that makes its backbone from data, the parent's own backbone is meant.
        parent, cot: Model to continue from; what `recalign teach` wrote, for kind "cot".
        validation: Target data of selection "paper"; by default the last data set.
        settings: Keys of the stage, see `recalign config rec`: ``{"kind": "rec", "shots": 64, "optim": {"lr": 3e-4}}``.
            The template is by default the one that the data names; the mode is "full" for a fresh nano, else "lora".
            Other defaults of a fresh nano are `nano_defaults`.
            Under "nano" stand the keys of `recalign config nano`, for a nano that is not there yet.
        restart: Discard checkpoints, and the model that is there.
        processes: How many processes of this machine tune together; by default this one, or those that `torchrun`
            started.
        shard: Divide the model among the processes, where one device does not hold it.
        reporter: Told about how long it will take, what was found finished, and the progress.

    Raises:
        ConfigError, DataError, ModelError, ArtifactError: See `tune_stage`.
        ProcessError: Of several processes one was lost, or has other inputs.
    """
    start, taught, target = (None if path is None else Path(path) for path in (parent, cot, validation))
    named = {"name": backbone} if isinstance(backbone, str) else backbone
    paths = [Path(path) for path in data]
    request = TuneRequest(paths, Path(output), named, start, target, taught, settings or {}, restart, shard)
    place = launched()
    if processes is None or processes == 1:
        tune_at(place, request, reporter or Reporter())
    elif processes < 1 or place is not None:
        found = f"processes = {processes}" if place is None else f"processes = {processes} under torchrun"
        raise ConfigError(WHERE, found=found, expected="a number from 1, or none where torchrun starts the processes")
    else:
        tune_together(request, processes, reporter or Reporter())
    return request.output


def tune_at(place: Place | None, request: TuneRequest, reporter: Reporter) -> None:
    """The part of one process in what `tune` does: of that `place` among several, or alone. Raises what `tune` does."""
    with joined(place, shard=request.shard) as world:
        inputs = _inputs(request, reporter, world)
        if not request.restart and find_finished(inputs, request.output):
            reporter.note(already("tuned", request.output))
        progress = of_training(reporter, request.output.name, request.told())
        tune_stage(inputs, request.output, restart=request.restart, progress=progress, world=world)


def _inputs(request: TuneRequest, reporter: Reporter, world: World) -> StageInputs:
    asked = validated(BackboneConfig, request.backbone, WHERE)
    built = asked.name in BACKBONES.names() and BACKBONES.find(asked.name).made_from_data
    sets = [SampleSet.load(path) for path in request.data]
    fresh = built and request.parent is None
    defaults: Settings = {"mode": "full" if fresh else "lora", "template": sets[-1].template}
    if fresh:
        defaults = merged(defaults, nano_defaults(sum(data.count("train") for data in sets), request.settings))
    chosen = merged(defaults, request.settings)
    nano = validated(NanoConfig, chosen.pop("nano", {}), f"{WHERE}, nano")
    config = stage_config(chosen, WHERE)
    check_data(config, sets)
    resolved = asked
    if request.parent is not None and built:
        changes = asked.model_dump(exclude={"name"}, exclude_defaults=True)
        resolved = backbone_of(request.parent).model_copy(update=changes)
    target = SampleSet.load(request.validation) if request.validation else None
    if target is None and isinstance(config, RecStage) and config.selection == "paper":
        target = sets[-1]
    inputs = StageInputs(
        config=config, data=sets, backbone=resolved, parent=request.parent, validation=target, cot=request.cot
    )
    if request.parent is not None and built:
        _tell_estimate(inputs, nano, request, reporter, world)
        return inputs
    return replace(inputs, backbone=_backbone(inputs, nano, request, reporter, world))


def _backbone(
    inputs: StageInputs, nano: NanoConfig, request: TuneRequest, reporter: Reporter, world: World
) -> BackboneConfig:
    """The backbone that was asked for, made from the data where it is one that is; tells how long that takes."""
    asked = inputs.backbone
    made = asked.name in BACKBONES.names() and BACKBONES.find(asked.name).made_from_data
    cached = made and asked.name == NANO and world.rank == 0 and is_built(nano, inputs.data)
    estimate = _tell_estimate(inputs, nano, request, reporter, world, built=cached)
    if cached:
        reporter.note("nano is there already: it was pretrained on this catalogue before")
    shown = reporter if made and not cached else Reporter()
    progress, began = of_training(shown, f"pretraining {asked.name}", request.told()), time.monotonic()

    def resolve() -> BackboneConfig:
        return resolve_backbone(asked, nano, inputs.data, progress=progress)

    resolved = world.first(resolve) or resolve()  # the others find what the first has built
    if estimate is not None and estimate.pretraining:
        reporter.note(estimate.corrected(time.monotonic() - began))
    return resolved


def _tell_estimate(
    inputs: StageInputs,
    nano: NanoConfig,
    request: TuneRequest,
    reporter: Reporter,
    world: World,
    *,
    built: bool = False,
) -> TuneEstimate | None:
    """About how long it takes; None where something stands at the output, or nobody knows the backbone's size."""
    if world.rank or request.output.exists():
        return None
    estimate = estimate_tuning(inputs, inputs.backbone, nano, built=built)
    if estimate is not None:
        reporter.note(estimate.line())
    return estimate


def nano_defaults(samples: int, settings: Mapping[str, object]) -> Settings:
    """Defaults of a stage on a fresh nano, over those of the papers, which are for LoRA on billions of weights.

    Many targets share a history, which is several times as fast, at a rate for all weights of a small model. Little
    data (`samples` in all train splits) gets a smaller nano and few steps: minutes on two old cores.
    """
    small: Settings = {"nano": SMALL_NANO} if samples < FEW_SAMPLES else {}
    if settings.get("kind", "rec") != "rec" or settings.get("shots") is not None:
        return small
    rec = merged(small, NANO_STAGE)
    if small and "epochs" not in settings:
        rec["max_steps"] = max(1, min(MOST_STEPS, round(EPOCHS * samples / NANO_BATCH)))
    return rec
