"""The models of a server or of a page, from their directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recalign.errors import ConfigError
from recalign.models.config import Precision
from recalign.recommender import Recommender
from recalign.tuning.model_artifact import SharedBackbones


def named_directory(run: str) -> tuple[str, str]:
    """NAME=DIRECTORY in its two parts; the name is "" where there is none."""
    name, equals, directory = run.partition("=")
    return (name, directory) if equals and not Path(run).exists() else ("", run)


def load_models(
    runs: Sequence[str],
    *,
    device: str = "auto",
    precision: Precision = "auto",
    index: Path | None = None,
    data: Path | None = None,
    backbone: str | None = None,
    endpoint: str | None = None,
) -> dict[str, Recommender]:
    """Load models; those that are a LoRA on one backbone share its weights (in precision auto).

    Args:
        runs: Directories, or NAME=DIRECTORY; without NAME the name is that of the directory.
        device, precision, index, data, backbone: See `Recommender.load`; the same for all models.
        endpoint: See `Recommender.load`; for a single model.

    Raises:
        ConfigError: Two models have one name, or one endpoint.
        ArtifactError, ModelError: As `Recommender.load`.
    """
    if endpoint is not None and len(runs) > 1:
        raise ConfigError("--endpoint", found=f"{len(runs)} models", expected="one")
    models: dict[str, Recommender] = {}
    shared = SharedBackbones()
    for run in runs:
        name, directory = named_directory(run)
        model = Recommender.load(
            directory, device=device, precision=precision, index=index, data=data, backbone=backbone, shared=shared,
            endpoint=endpoint,
        )  # fmt: skip
        name = name or model.scorer.name
        if name in models:
            raise ConfigError(f"model {run}", found=f"another named {name}", hint="Name one of them: NAME=DIRECTORY")
        models[name] = model
    return models
