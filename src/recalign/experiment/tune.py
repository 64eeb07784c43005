"""Tuning one stage from paths and names: what `recalign tune` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recalign.data.samples import SampleSet
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.settings import validated
from recalign.tuning.backbones import BACKBONES, resolve_backbone
from recalign.tuning.config import RecStage, stage_config
from recalign.tuning.model_artifact import backbone_of
from recalign.tuning.provenance import StageInputs, check_data
from recalign.tuning.stage import Progress, find_finished, tune_stage

WHERE = "options of recalign tune"


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
            Under "nano" stand the keys of `recalign config nano`, for a nano that is not there yet.
        restart: Discard checkpoints and a model made from other inputs.
        note, progress_for: Told what was found finished; the progress callback of the training loop of a name.

    Raises:
        ConfigError, DataError, ModelError, ArtifactError: See `tune_stage`.
    """
    named = {"name": backbone} if isinstance(backbone, str) else backbone
    asked = validated(BackboneConfig, named, WHERE)
    built = asked.name in BACKBONES.names() and BACKBONES.find(asked.name).made_from_data
    sets = [SampleSet.load(Path(path)) for path in data]
    start, taught, target_path = (None if path is None else Path(path) for path in (parent, cot, validation))
    defaults = {"mode": "full" if built and parent is None else "lora", "template": sets[-1].template}
    chosen = {**defaults, **(settings or {})}
    nano = validated(NanoConfig, chosen.pop("nano", {}), f"{WHERE}, nano")  # type: ignore[arg-type]
    config = stage_config(chosen, WHERE)
    check_data(config, sets)
    if start is not None and built:
        resolved = backbone_of(start).model_copy(update=asked.model_dump(exclude={"name"}, exclude_defaults=True))
    else:
        resolved = resolve_backbone(asked, nano, sets, progress=progress_for(f"pretraining {asked.name}"))
    target = SampleSet.load(target_path) if target_path else None
    if target is None and isinstance(config, RecStage) and config.selection == "paper":
        target = sets[-1]
    inputs = StageInputs(config=config, data=sets, backbone=resolved, parent=start, validation=target, cot=taught)
    if find_finished(inputs, Path(output)):
        note("already tuned from these inputs")
    return tune_stage(inputs, Path(output), restart=restart, progress=progress_for(Path(output).name))
