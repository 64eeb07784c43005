"""What a metric is: a record that says how it is computed, resampled and shown.

Each metric is one module of `recalign.evaluation.metrics`, or an entry point ``recalign.metrics`` of another package.
Rows, the results document, tables, CSV and the report go through `METRICS` and name no metric themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import polars as pl
from numpy.typing import NDArray

from recalign.metrics.classification import Value
from recalign.metrics.ranking import RankingMetric, as_frame
from recalign.metrics.significance import Statistic
from recalign.plugins import PluginGroup

UNSEEN_TITLES: Final = "unseen titles"


@dataclass(frozen=True)
class Observed:
    """What a metric may read: the scores of one model of one training seed.

    Attributes:
        frame: Over samples: a row per sample with the columns of `schema.SCORES`, perhaps `label_mass`, and
            `temperature` (the temperature that a sample's log-odds are divided by, null where there is none). Over
            candidates: a row per list with `sample_id`, `user_id`, `ndcg`, `recall` and `mrr`.
        why_no_temperature: Why there is no temperature; "" where there is one.
    """

    frame: pl.DataFrame
    why_no_temperature: str = ""

    @property
    def labels(self) -> NDArray[Any]:
        """Labels of the samples, shape (n,)."""
        return self.frame["label"].to_numpy()

    @property
    def scores(self) -> NDArray[Any]:
        """Scores of the samples, shape (n,)."""
        return self.frame["score"].to_numpy()

    @property
    def no_temperature(self) -> str:
        """Why some of the scores have no temperature; "" where all have one."""
        if self.why_no_temperature:
            return self.why_no_temperature
        return "some of the scores have no temperature" if self.frame["temperature"].null_count() else ""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        heading: What a table calls it, at most nine characters where it has a column.
        meaning: What it is, in one sentence.
        plain: How to read it, in a few words for those who do not know it; "" where that is plain.
        value: Computes it. None: it does not apply to these scores (which is not the same as undefined).
        over: Whether it reads the scores of samples or those of candidate lists.
        statistic: How users are resampled for its interval: by the statistic itself ("auc", "gauc") or by the mean of
            `Value.lists` ("mean"). None: it has no interval.
        needs_log_odds: Whether scores that are only an order have none.
        digits: Decimals in a table.
        decides: Whether models are compared by it: with the best prior, and in pairs.
        compares: Whether they are compared by it in pairs alone.
        chance: What guessing gets; bars in figures begin there.
        column: Whether tables have a column for it; otherwise it is told in a line below the table.
        position: Its place among the others, ascending.
        subset: Name of the samples that it is about, all others being left out; "": all samples.
        detail: A small second line of the heading.
        counts: What each of `Value.counts` is a number of, in words.
    """

    heading: str
    meaning: str
    value: Callable[[Observed], Value | None]
    over: Literal["samples", "candidates"] = "samples"
    statistic: Statistic | None = None
    needs_log_odds: bool = False
    higher_is_better: bool = True
    digits: int = 4
    decides: bool = False
    compares: bool = False
    chance: float = 0.0
    column: bool = True
    plain: str = ""
    position: int = 100
    subset: str = ""
    detail: str = ""
    counts: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The heading with its detail: what sentences and axes call it."""
        return f"{self.heading} {self.detail}".strip()


def over_candidates(
    column: RankingMetric, heading: str, meaning: str, *, position: int, decides: bool = False
) -> Metric:
    """A metric that is the mean of a column of `recalign.metrics.ranking.candidate_values` over the lists."""

    def value(observed: Observed) -> Value:
        lists = as_frame(*observed.frame.select("sample_id", "user_id", column))
        return Value(float(lists["score"].to_numpy().mean()), lists=lists)

    return Metric(
        heading, meaning, value, "candidates", "mean", decides=decides, position=position, detail="over candidates"
    )


def after_temperature(metric: Metric) -> Metric:
    """A metric of log-odds, computed after they are divided by their temperatures."""

    def value(observed: Observed) -> Value | None:
        if reason := observed.no_temperature:
            return Value(None, reason)
        frame = observed.frame.with_columns(pl.col("score") / pl.col("temperature"))
        return metric.value(replace(observed, frame=frame))

    return replace(
        metric,
        value=value,
        detail="with temperature",
        meaning=f"{metric.heading} after the log-odds are divided by the temperature.",
        plain="",
        column=False,
        position=metric.position + 30,
    )


METRICS: Final = PluginGroup("metrics", "metric", "recalign.evaluation.metrics", Metric)


def ordered_metrics() -> list[tuple[str, Metric]]:
    """All metrics with their names, in the order in which tables show them."""
    return sorted(METRICS.all(), key=lambda entry: entry[1].position)


def deciding(over: Literal["samples", "candidates"] | None = None) -> list[tuple[str, Metric]]:
    """The metrics by which models are compared, of one kind of scores or of both."""
    return [(name, metric) for name, metric in ordered_metrics() if metric.decides and over in (None, metric.over)]


def comparing() -> list[tuple[str, Metric]]:
    """The metrics by which pairs of models are compared, by name, in the order of `position`."""
    return [(name, metric) for name, metric in ordered_metrics() if metric.decides or metric.compares]
