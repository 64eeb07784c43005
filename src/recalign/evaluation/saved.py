"""A directory that `recalign tune` or `recalign baseline` wrote, as a scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from recalign.artifacts import read_manifest
from recalign.baselines.artifact import KIND as BASELINE
from recalign.baselines.artifact import load_baseline
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.scoring.base import Scorer
from recalign.tuning.model_artifact import load_scorer


def load_saved(directory: Path, data: SampleSet, *, kind: Literal["log-odds", "paper"] = "log-odds") -> Scorer:
    """A saved model or baseline as a scorer of the data's items.

    Args:
        directory: A tuned model or a trained baseline.
        data: Prepared data.
        kind: See `recalign.scoring.yes_no.YesNoScorer`; baselines give log-odds.

    Raises:
        ArtifactError: Neither is there, or it is incomplete or altered.
        ConfigError: Another kind of score was asked of a baseline.
        ModelError: The backbone (or text encoder) cannot be loaded, or is another one.
    """
    if saved_kind(directory) == "tuned":
        return load_scorer(directory, data, kind=kind)
    if kind != "log-odds":
        raise ConfigError(f"score {kind!r} of {directory}", found="a baseline", expected="a language model")
    return load_baseline(directory, data)


def saved_kind(directory: Path) -> Literal["tuned", "baseline"]:
    """What a directory holds by its manifest: a baseline, or else a tuned model.

    Raises:
        ArtifactError: It holds no artefact.
    """
    return "baseline" if read_manifest(directory, verify=False).kind == BASELINE else "tuned"
