"""Stages one after the other: what a curriculum with a tuning stage per chain-of-thought step comes down to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from recalign.tuning.config import CotStage, StageConfig
from recalign.tuning.curriculum import substages
from recalign.tuning.stage import Progress, StageInputs, find_finished, tune_stage


def _silent(_text: str) -> None:
    """Say nothing."""


def tune_curriculum(
    name: str,
    inputs: StageInputs,
    models: Path,
    *,
    restart: bool = False,
    note: Callable[[str], None] = _silent,
    progress_for: Callable[[str], Progress | None] = lambda stage: None,
) -> Path:
    """Tune a stage of any kind; a staged curriculum is a chain of stages, ``NAME-stage1-only`` and so on before NAME.

    Args:
        name: Name of the model.
        inputs: The stage.
        models: Folder of models.
        restart: See `tune_stage`.
        note: Told, in one line, which stages are found finished.
        progress_for: The progress callback of the stage of that name.

    Returns:
        Directory of the last stage's model.

    Raises:
        RecalignError: See `tune_stage`.
    """
    config = inputs.config
    stages: list[tuple[str, StageConfig]] = [(name, config)]
    if isinstance(config, CotStage):
        curricula = substages(config.curriculum)
        names = [*(f"{name}-{curriculum}" for curriculum in curricula[:-1]), name]
        configs = (config.model_copy(update={"curriculum": curriculum}) for curriculum in curricula)
        stages = list(zip(names, configs, strict=True))
    for stage, config in stages:
        inputs, target = replace(inputs, config=config), models / stage
        if find_finished(inputs, target):
            note(f"stage {stage}: already tuned")
        tune_stage(inputs, target, restart=restart, progress=progress_for(stage))
        inputs = replace(inputs, parent=target)
    return target
