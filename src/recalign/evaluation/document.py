"""What an evaluation found, as a validated document: panels of rows with metrics, verdicts and comparisons.

A panel is one set of samples that all its rows were scored on. A row is a model at one point of a grid, over its
training seeds. `recalign evaluate --json` prints a panel; `results.json` of a run holds several.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from recalign.baselines.recent import Recency

RowKind = Literal["tuned", "baseline", "in-context", "prior", "reference", "other"]
BESIDE: Final[tuple[RowKind, ...]] = ("prior", "reference")  # rows that models are held against, and that are no models
RowStatus = Literal["done", "partial", "not run"]
Ends = tuple[float, float]

DIGITS: Final = 6  # decimals of the numbers in a document


class Document(BaseModel):
    """A part of the document: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Document):
    """A metric over `n` training seeds and order seeds: every pair of them counts.

    Attributes:
        mean: None where it is undefined.
        sd: Sample standard deviation; None for one seed.
        ci: User-clustered 95 % interval of the mean.
        reason: Why there is no mean, or no interval.
        counts: Numbers that belong to it, under the keys of `Metric.counts`; of the first seed.
    """

    mean: float | None = None
    sd: float | None = None
    ci: Ends | None = None
    n: int = 1
    reason: str = ""
    counts: dict[str, int] = {}


class Difference(Document):
    """A metric of one row minus that of another on the same samples.

    Attributes:
        interval: Paired, user-clustered 95 % interval; None where it is undefined.
        p_value: Two-sided, adjusted by Holm's method over its family of tests; None as `interval`.
    """

    difference: float
    interval: Ends | None = None
    p_value: float | None = None

    @property
    def outcome(self) -> Literal["above", "below", "open"]:
        """Where the interval lies: above zero, below zero, or neither."""
        if self.interval is None:
            return "open"
        low, high = self.interval
        return "above" if low > 0 else "below" if high < 0 else "open"


class Verdict(Difference):
    """A row against the best prior of its panel. One family: all rows of the panel, for one metric."""

    prior: str
    beats: bool

    @property
    def standing(self) -> Literal["better", "worse", "open"]:
        """How the row stands to the prior; "open" where they are not distinguishable."""
        if self.beats:
            return "better"
        return "open" if self.outcome == "open" else "worse"


class Comparison(Difference):
    """Row `a` minus row `b`. One family: all comparisons of the panel."""

    a: str
    b: str
    metric: str


class Bin(Document):
    """One bin of a reliability diagram: mean predicted probability, share liked, samples (over all seeds)."""

    predicted: float
    observed: float
    count: int


class CurvePoint(Document):
    """What a training log says at one step."""

    step: int
    loss: float
    validation: float | None = None


class Curve(Document):
    """The training log of one model of a row."""

    seed: int
    stage: str
    points: tuple[CurvePoint, ...]


class Row(Document):
    """A model at one point of a grid, over its seeds.

    Attributes:
        backbone: The language model below it; "" where there is none.
        shots: Training samples of the target; None where there is no such number.
        control: What was done to its test samples; "" for nothing.
        seeds: Training seeds that it has scores of.
        status: Whether all its seeds have been scored; `reason` says why not.
        metrics: By the name of the metric; those that do not apply are left out.
        verdicts: Against the best prior, by the name of the metric.
        published: The paper's numbers for this very cell, by the name of the metric.
        reliability: Bins over all seeds; empty where scores are no log-odds.
        user_auc: AUC within each user who has both labels, mean over seeds, ascending.
    """

    model: str
    kind: RowKind
    backbone: str = ""
    shots: int | None = None
    control: str = ""
    seeds: tuple[int, ...] = ()
    status: RowStatus = "done"
    reason: str = ""
    metrics: dict[str, Estimate] = {}
    verdicts: dict[str, Verdict] = {}
    published: dict[str, float] = {}
    reliability: tuple[Bin, ...] = ()
    user_auc: tuple[float, ...] = ()
    training: tuple[Curve, ...] = ()

    @property
    def title(self) -> str:
        """Model, backbone and shots in words: what comparisons call the row."""
        parts = [self.model, self.backbone if self.kind in ("tuned", "in-context") else ""]
        parts += [f"{self.shots}-shot" if self.shots is not None else "", self.control]
        return ", ".join(part for part in parts if part)

    def mean(self, metric: str) -> float | None:
        """Mean of a metric; None where it is undefined, not finite, or does not apply."""
        estimate = self.metrics.get(metric)
        value = None if estimate is None else estimate.mean
        return value if value is not None and math.isfinite(value) else None


class RecentWeights(Document):
    """How the ``recent`` priors weigh (`recalign.baselines.recent.Recency`).

    Attributes:
        decay: h, in events; None where all events weigh the same.
        weight: w, of the item mean.
        reason: Why these are the defaults; "" where labels of the fit data have chosen them.
    """

    decay: float | None
    weight: float
    reason: str = ""

    @classmethod
    def of(cls, recency: Recency) -> RecentWeights:
        """The same as data: JSON has no infinity."""
        decay = recency.decay if math.isfinite(recency.decay) else None
        return cls(decay=decay, weight=recency.weight, reason=recency.reason)


class Learned(Document):
    """What the item-based priors of a panel learned from.

    Attributes:
        fit: Name of the data set; "" for the evaluated data itself.
        interactions: Distinct interactions of its train split, per order seed and fold; empty where there was nothing
            to learn from, and the item-based priors are left out.
        recent: How the ``recent`` priors weigh, per order seed and fold; empty like `interactions`.
    """

    fit: str = ""
    interactions: tuple[int, ...] = ()
    recent: tuple[RecentWeights, ...] = ()


class ReferenceFit(Document):
    """What a reference learned: all train labels of the evaluated data.

    Attributes:
        labels: Distinct interactions of the train split.
        regularisation: Ridge penalty of the factors.
        reason: Why that is the default; "" where the validation split has chosen it.
    """

    model: str
    labels: int
    regularisation: float
    reason: str = ""


class Ranked(Document):
    """The candidate lists of a panel: one liked target among `negatives` items that the user never met.

    Attributes:
        lists: Number of lists; 0: no candidates could be drawn.
        fingerprints: Of the frozen candidates, one per order seed and fold.
    """

    negatives: int
    lists: int = 0
    users: int = 0
    fingerprints: tuple[str, ...] = ()


class Unseen(Document):
    """Targets whose title none of the named data sets shows in its train split: how many of the panel's."""

    count: int
    data: tuple[str, ...]


class Answered(Document):
    """How an endpoint answered the samples that it was asked about.

    Attributes:
        asked: Samples; the panel is about those that were answered.
        right: Answered samples whose answer was the user's.
        excluded: Samples without a usable answer, by reason.
        tokens: Billed tokens in the ledger.
        by_probability: Samples scored by the labels' probabilities; the others are scored by the answer.
        requested: Whether log probabilities were asked for.
        usable: Answers that came with probabilities of the labels.
        bounded: Those of them in which one label was not listed, so that its probability is a bound.
        refused: What an endpoint said that refused to give probabilities.
    """

    asked: int
    right: int
    excluded: dict[str, int] = {}
    tokens: int = 0
    by_probability: int = 0
    requested: bool = True
    usable: int = 0
    bounded: int = 0
    refused: str = ""


class PanelFacts(Document):
    """What a panel is about, without its rows.

    Attributes:
        data: Name of the data set.
        fingerprints: Of the prepared data, one per order seed and fold.
        order_seeds: Of the prepared data, where they are several. `n` and `n_users` are then those of the first.
        n, n_users, positive_share: Samples, users, and the share of liked samples in [0, 1].
        references: What the rows of kind "reference" learned, one per fold.
        ranked: None where nothing is ranked.
        unseen: None where nobody asked.
        answered: None where no endpoint was asked.
    """

    name: str
    title: str
    data: str
    split: str
    fingerprints: tuple[str, ...] = ()
    order_seeds: tuple[int, ...] = ()
    n: int
    n_users: int
    positive_share: float
    learned: Learned = Learned()
    references: tuple[ReferenceFit, ...] = ()
    ranked: Ranked | None = None
    unseen: Unseen | None = None
    answered: Answered | None = None


class Panel(PanelFacts):
    """One set of samples and what all models made of them."""

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def plain_rows(self) -> list[Row]:
        """The rows without a control."""
        return [row for row in self.rows if not row.control]
