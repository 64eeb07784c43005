"""`results.json` of an experiment: everything that a report shows, as one validated document.

Written by `recalign experiment` from stored score files, read by `recalign report`; nothing in it is computed twice.
A panel is one set of test samples that all its rows were scored on; a row is a model at one point of the grid, over its
training seeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recalign.artifacts import write_file_atomic
from recalign.errors import ArtifactError

RESULTS_FILE: Final = "results.json"
FORMAT_VERSION: Final = 1

RowKind = Literal["tuned", "baseline", "in-context", "prior"]
RowStatus = Literal["done", "partial", "not run"]
FigureKind = Literal["shots", "bars", "backbones"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Frozen):
    """A metric over training seeds: its mean, sample sd, user-clustered interval of the mean, number of seeds."""

    mean: float
    sd: float | None = None
    ci: tuple[float, float] | None = None
    n: int = 1


class Metrics(_Frozen):
    """Metrics of a row; None where undefined or not asked for. `ndcg`, `recall`, `mrr` are those over candidates."""

    auc: Measured | None = None
    gauc: Measured | None = None
    labelled_ndcg: Measured | None = None
    logloss: Measured | None = None
    ece: Measured | None = None
    ndcg: Measured | None = None
    recall: Measured | None = None
    mrr: Measured | None = None
    unseen_auc: Measured | None = None


class Verdict(_Frozen):
    """A row against the best prior of its panel: paired, user-clustered, Holm-adjusted over the panel's rows."""

    prior: str
    difference: float
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    beats: bool


class Comparison(_Frozen):
    """One row minus another on the same samples; p-values are Holm-adjusted over the panel's comparisons."""

    a: str
    b: str
    metric: Literal["auc", "ndcg"]
    difference: float
    interval: tuple[float, float] | None = None
    p_value: float | None = None


class Bin(_Frozen):
    """One bin of a reliability diagram: mean predicted probability, share liked, samples (over all seeds)."""

    predicted: float
    observed: float
    count: int


class CurvePoint(_Frozen):
    """What a training log says at one step."""

    step: int
    loss: float
    validation: float | None = None


class Curve(_Frozen):
    """The training log of one model of a row."""

    seed: int
    stage: str
    points: tuple[CurvePoint, ...]


class Row(_Frozen):
    """A model at one point of the grid, over its seeds. `control` names what was done to its test samples, if anything.

    `published` holds the paper's numbers for this very cell ("auc", "ndcg"), where its table has one.
    """

    model: str
    kind: RowKind
    backbone: str = ""
    shots: int | None = None
    control: str = ""
    seeds: tuple[int, ...] = ()
    status: RowStatus = "done"
    reason: str = ""
    metrics: Metrics = Metrics()
    published: dict[str, float] = {}
    verdict: Verdict | None = None
    ranking_verdict: Verdict | None = None
    refused: int = 0
    reliability: tuple[Bin, ...] = ()
    user_auc: tuple[float, ...] = ()
    training: tuple[Curve, ...] = ()

    @property
    def title(self) -> str:
        """Model, backbone and shots in words: what comparisons call the row."""
        parts = [self.model, self.backbone if self.kind in ("tuned", "in-context") else ""]
        parts += [f"{self.shots}-shot" if self.shots is not None else "", self.control]
        return ", ".join(part for part in parts if part)


class Panel(_Frozen):
    """One set of test samples and what all models made of them."""

    name: str
    title: str
    data: str
    split: str
    n: int
    n_users: int
    positive_share: float
    gauc_users: int
    priors_note: str = ""
    ranking_note: str = ""
    unseen_note: str = ""
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()


class Figure(_Frozen):
    """What to draw from a panel's rows.

    ``shots``: metric over K, a line per model with its interval, rows without K as levels. ``bars``: a bar per model at
    `shots`, with intervals and the best prior. ``backbones``: groups of bars, one group per backbone.
    """

    kind: FigureKind = Field(description="shots, bars or backbones.")
    title: str = Field(description="Title.")
    panel: str = Field(description="Name of the panel.")
    metric: Literal["auc", "gauc", "labelled_ndcg", "ndcg"] = Field("auc", description="What is drawn.")
    models: tuple[str, ...] = Field(min_length=1, description="Names of rows.")
    shots: int | None = Field(None, description="bars: K of the rows; none: rows without K.")


class Missing(_Frozen):
    """A run without a result, and why."""

    job: str
    status: Literal["failed", "skipped", "not run"]
    reason: str


class Finding(_Frozen):
    """A finding of the data audit."""

    check: str
    severity: str
    text: str


class Study(_Frozen):
    """The whole document."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    title: str
    description: str = ""
    paper: str = ""
    commands: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    machine: dict[str, str | int] = {}
    finished: str = ""
    cpu_hours: float = 0.0
    missing: tuple[Missing, ...] = ()
    panels: tuple[Panel, ...]
    figures: tuple[Figure, ...] = ()
    audit: dict[str, tuple[Finding, ...]] = {}
    settings: str = ""

    def write(self, directory: Path) -> Path:
        """Write ``results.json`` into `directory`, atomically. Raises ArtifactError."""
        path = directory / RESULTS_FILE
        write_file_atomic(path, self.model_dump_json(indent=1).encode())
        return path

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            ArtifactError: There is none, or it is no results document of this version.
        """
        path = directory / RESULTS_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"results {path}",
                found=getattr(error, "strerror", None) or "no text",
                expected="the results of an experiment",
                hint="Run: recalign experiment FILE",
            ) from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the document"
            raise ArtifactError(
                f"results {path}",
                found=f"{place}: {first['msg']}",
                expected=f"format version {FORMAT_VERSION}",
                hint="Run `recalign experiment` again; finished runs are kept",
            ) from None
