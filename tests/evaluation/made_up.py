"""Scores that are made up: rows of a panel whose metrics and tests can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recalign.evaluation.document import Row
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings, measure_row

TESTED = TestSettings(resamples=200)
USERS, EACH = 40, 4


def frame(signal: float, seed: int = 0, users: int = USERS) -> pl.DataFrame:
    """Scores of `users` with two likes and two dislikes each; `signal` separates the labels."""
    rng = np.random.default_rng(seed)
    labels = np.tile([1, 1, 0, 0], users)
    return pl.DataFrame(
        {
            "sample_id": [f"s{index:04}" for index in range(users * EACH)],
            "user_id": [f"u{index // EACH}" for index in range(users * EACH)],
            "label": labels,
            "score": signal * (2 * labels - 1) + rng.normal(size=users * EACH),
        },
        schema_overrides={"label": pl.Int8},
    )


def sampled(frame: pl.DataFrame, temperature: float | None = None) -> pl.DataFrame:
    return frame.with_columns(pl.lit(temperature, pl.Float64).alias("temperature"))


def lists(values: list[float]) -> pl.DataFrame:
    """Values of candidate lists, as `candidate_values` gives them."""
    names = [f"s{index}" for index in range(len(values))]
    columns: dict[str, Any] = {"sample_id": names, "user_id": names, "label": [1] * len(values)}
    return pl.DataFrame(
        {**columns, **dict.fromkeys(("ndcg", "recall", "mrr"), values)}, schema_overrides={"label": pl.Int8}
    )


def rows(*entries: tuple[Row, RowScores]) -> list[ScoredRow]:
    return [ScoredRow(measure_row(row, scores, TESTED), scores) for row, scores in entries]


def scored(*signals: float, log_odds: bool = True, seed: int = 0, ranking: Sequence[pl.DataFrame] = ()) -> RowScores:
    frames = [sampled(frame(signal, seed + place)) for place, signal in enumerate(signals)]
    return RowScores(tuple(frames), tuple(ranking), log_odds)


def prior(name: str) -> Row:
    return Row(model=name, kind="prior")


def tuned(name: str, **settings: Any) -> Row:
    return Row(model=name, kind="tuned", backbone="nano", **settings)
