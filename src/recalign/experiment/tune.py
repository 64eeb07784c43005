"""Tuning one stage from paths and names: what `recalign tune` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from recalign.artifacts import already
from recalign.data.samples import SampleSet
from recalign.experiment.tune_estimate import estimate_tuning
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.settings import Settings, merged, validated
from recalign.tuning.backbones import BACKBONES, resolve_backbone
from recalign.tuning.config import RecStage, stage_config
from recalign.tuning.model_artifact import backbone_of
from recalign.tuning.provenance import StageInputs, check_data
from recalign.tuning.stage import Progress, find_finished, tune_stage

WHERE = "options of recalign tune"
FEW_SAMPLES: Final = 100_000
SMALL_NANO: Final[Settings] = {"hidden": 128, "layers": 2, "intermediate": 384, "steps": 80}
NANO_BATCH: Final = 192
NANO_STAGE: Final[Settings] = {
    "batch_size": NANO_BATCH,
    "optim": {"lr": 1e-3, "schedule": "cosine", "betas": [0.9, 0.98]},
    "sampling": {"targets_per_history": 12},
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
    note: Callable[[str], None] = lambda text: None,
    progress_for: Callable[[str], Progress | None] = lambda name: None,
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
        note, progress_for: Told about how long it will take, and what was found finished; the progress callback of the
            training loop of a name.

    Raises:
        ConfigError, DataError, ModelError, ArtifactError: See `tune_stage`.
    """
    named = {"name": backbone} if isinstance(backbone, str) else backbone
    asked = validated(BackboneConfig, named, WHERE)
    built = asked.name in BACKBONES.names() and BACKBONES.find(asked.name).made_from_data
    sets = [SampleSet.load(Path(path)) for path in data]
    start, taught, target_path = (None if path is None else Path(path) for path in (parent, cot, validation))
    fresh = built and parent is None
    defaults: Settings = {"mode": "full" if fresh else "lora", "template": sets[-1].template}
    if fresh:
        defaults = merged(defaults, nano_defaults(sum(data.count("train") for data in sets), settings or {}))
    chosen = merged(defaults, settings or {})
    nano = validated(NanoConfig, chosen.pop("nano", {}), f"{WHERE}, nano")
    config = stage_config(chosen, WHERE)
    check_data(config, sets)
    if start is not None and built:
        resolved = backbone_of(start).model_copy(update=asked.model_dump(exclude={"name"}, exclude_defaults=True))
    else:
        resolved = asked
    target = SampleSet.load(target_path) if target_path else None
    if target is None and isinstance(config, RecStage) and config.selection == "paper":
        target = sets[-1]
    inputs = StageInputs(config=config, data=sets, backbone=resolved, parent=start, validation=target, cot=taught)
    if estimate := _estimate(inputs, nano, Path(output)):
        note(estimate)
    if start is None or not built:
        resolved = resolve_backbone(asked, nano, sets, progress=progress_for(f"pretraining {asked.name}"))
        inputs = replace(inputs, backbone=resolved)
    if not restart and find_finished(inputs, Path(output)):
        note(already("tuned", Path(output)))
    return tune_stage(inputs, Path(output), restart=restart, progress=progress_for(Path(output).name))


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


def _estimate(inputs: StageInputs, nano: NanoConfig, output: Path) -> str:
    """About how long it takes; "" where something stands at `output`, or the size of the backbone is not known."""
    if output.exists():
        return ""
    estimate = estimate_tuning(inputs, inputs.backbone, nano)
    return "" if estimate is None else estimate.line()
