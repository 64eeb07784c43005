"""The models of a server or of a page, from their directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recalign.errors import ConfigError
from recalign.recommender import Recommender
from recalign.tuning.model_artifact import SharedBackbones


def load_models(
    runs: Sequence[str],
    *,
    device: str = "auto",
    index: Path | None = None,
    data: Path | None = None,
    backbone: str | None = None,
) -> dict[str, Recommender]:
    """Load models; those that are a LoRA on one backbone share its weights.

    Args:
        runs: Directories, or NAME=DIRECTORY; without NAME the name is that of the directory.
        device, index, data, backbone: See `Recommender.load`; the same for all models.

    Raises:
        ConfigError: Two models have one name.
        ArtifactError, ModelError: As `Recommender.load`.
    """
    models: dict[str, Recommender] = {}
    shared = SharedBackbones()
    for run in runs:
        name, equals, directory = run.partition("=")
        if not equals or Path(run).exists():
            name, directory = "", run
        model = Recommender.load(directory, device=device, index=index, data=data, backbone=backbone, shared=shared)
        name = name or model.scorer.name
        if name in models:
            raise ConfigError(f"model {run}", found=f"another named {name}", hint="Name one of them: NAME=DIRECTORY")
        models[name] = model
    return models
