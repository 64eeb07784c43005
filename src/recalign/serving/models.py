"""The models of a server or of a page, from their directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recalign.errors import ConfigError
from recalign.recommender import Recommender


def load_models(
    runs: Sequence[str], *, device: str = "auto", index: Path | None = None, data: Path | None = None
) -> dict[str, Recommender]:
    """Load models, each with a backbone of its own: an adapter changes its backbone in place.

    Args:
        runs: Directories, or NAME=DIRECTORY; without NAME the name is that of the directory.
        device, index, data: See `Recommender.load`; the same for all models.

    Raises:
        ConfigError: Two models have one name.
        ArtifactError, ModelError: As `Recommender.load`.
    """
    models: dict[str, Recommender] = {}
    for run in runs:
        name, equals, directory = run.partition("=")
        if not equals or Path(run).exists():
            name, directory = "", run
        model = Recommender.load(directory, device=device, index=index, data=data)
        name = name or model.scorer.name
        if name in models:
            raise ConfigError(f"model {run}", found=f"another named {name}", hint="Name one of them: NAME=DIRECTORY")
        models[name] = model
    return models
