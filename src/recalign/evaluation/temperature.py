"""Temperatures: the one rule for which models get one, and log-odds divided by it.

A temperature is fitted on validation labels. So priors get one, which no label can have selected, and models that were
selected on validation labels of this very data. Zero-shot and strict-k models have seen none of them and get none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from recalign.artifacts import read_manifest
from recalign.baselines.priors import PREFIX
from recalign.data.samples import SampleSet
from recalign.evaluation.metric import Metric, Observed, Value
from recalign.scoring.base import Scorer


@dataclass(frozen=True)
class Temperature:
    """What log-odds are divided by, or why there is nothing to divide by.

    Attributes:
        value: A number above 0; None where there is none.
        reason: Why there is none; "" where there is one.
    """

    value: float | None = None
    reason: str = ""


NOT_ALLOWED = Temperature(reason="validation labels were not to be used")


def may_fit(scorer: Scorer, data: SampleSet, model: Path | None) -> bool:
    """Whether a temperature may be fitted on the data's validation labels.

    Args:
        scorer: What is scored.
        data: The data that is scored.
        model: The directory that the scorer comes from; None for priors and untuned models.

    Raises:
        ArtifactError: `model` holds no artefact.
    """
    if model is None:
        return scorer.name.startswith(PREFIX)
    seen = read_manifest(model, verify=False).config.get("labels_seen", {})
    return bool(seen.get(data.fingerprint, {}).get("valid", 0))


def no_temperature(observed: Observed) -> str:
    """Why these scores have no temperature; "" where they have one."""
    if observed.no_temperature:
        return observed.no_temperature
    return "" if not observed.frame["temperature"].null_count() else "some of the scores have no temperature"


def after_temperature(metric: Metric) -> Metric:
    """A metric of log-odds, computed after they are divided by their temperatures."""

    def value(observed: Observed) -> Value | None:
        if reason := no_temperature(observed):
            return Value(None, reason)
        frame = observed.frame.with_columns(pl.col("score") / pl.col("temperature"))
        return metric.value(replace(observed, frame=frame))

    return replace(
        metric,
        value=value,
        detail="with temperature",
        meaning=f"{metric.heading} after the log-odds are divided by the temperature.",
        column=False,
        position=metric.position + 30,
    )
