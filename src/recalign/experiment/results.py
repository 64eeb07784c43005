"""`results.json` of a run: everything that a report shows, as one validated document.

Written by `recalign run` from stored score files, read by `recalign report`. Nothing in it is computed twice.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, field_validator

from recalign.artifacts import MANIFEST_NAME, read_manifest, write_file_atomic
from recalign.errors import ArtifactError
from recalign.evaluation.document import Document, Panel
from recalign.evaluation.metric import METRICS

RESULTS_FILE: Final = "results.json"
FORMAT_VERSION: Final = 2
_MODEL: Final = "model"  # kind of the artefact; its own module loads torch

FigureKind = Literal["shots", "bars", "backbones"]


class Figure(Document):
    """What to draw from a panel's rows.

    ``shots``: metric over K, a line per model with its interval, rows without K as levels. ``bars``: a bar per model at
    `shots`, with intervals and the best prior. ``backbones``: groups of bars, one group per backbone.
    """

    kind: FigureKind = Field(description="shots, bars or backbones.")
    title: str = Field(description="Title.")
    panel: str = Field(description="Name of the panel.")
    metric: str = Field("auc", description="Name of the metric that is drawn.")
    models: tuple[str, ...] = Field(min_length=1, description="Names of rows.")
    shots: int | None = Field(None, description="bars: K of the rows; none: rows without K.")

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        if name not in METRICS.names():
            raise ValueError(f"unknown metric {name!r}, expected {', '.join(METRICS.names())}")
        return name


class Missing(Document):
    """A job without a result, and why."""

    job: str
    status: Literal["failed", "skipped", "not run"]
    reason: str


class Finding(Document):
    """A finding of the data audit."""

    check: str
    severity: str
    text: str


class Results(Document):
    """The whole document.

    Attributes:
        format_version: Version of the document.
        name, title, description, paper: As in the run's file.
        commands: What to type to get here.
        versions: Packages and their versions.
        machine: Processor, cores and system.
        finished: When, as ISO 8601.
        cpu_hours: Of all jobs.
        missing: Jobs without a result.
        panels: What was scored on what.
        figures: What the report draws.
        audit: Findings of the data audit by data set.
        settings: The run's file.
    """

    format_version: Literal[2] = FORMAT_VERSION
    name: str
    title: str
    description: str = ""
    paper: str = ""
    commands: tuple[str, ...] = ()
    versions: dict[str, str] = Field({})
    machine: dict[str, str | int] = Field({})
    finished: str = ""
    cpu_hours: float = 0.0
    missing: tuple[Missing, ...] = ()
    panels: tuple[Panel, ...]
    figures: tuple[Figure, ...] = ()
    audit: dict[str, tuple[Finding, ...]] = Field({})
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
            ArtifactError: There is none, or it is no results document of this version; or `directory` is a model.
        """
        path = directory / RESULTS_FILE
        if not path.exists():
            _refuse_model(directory)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"results {path}",
                found=getattr(error, "strerror", None) or "no text",
                expected="the results of a run",
                hint="Run: recalign run FILE",
            ) from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "the document"
            raise ArtifactError(
                f"results {path}",
                found=_other_format(text) or f"{place}: {problem['msg']}",
                expected=f"format version {FORMAT_VERSION}",
                hint="Make it new: recalign run FILE. Finished jobs are kept, so only the evaluation runs again",
            ) from None


def _refuse_model(directory: Path) -> None:
    """Say which commands are for a model, where the directory is one: only runs have results."""
    if (directory / MANIFEST_NAME).is_file() and read_manifest(directory, verify=False).kind == _MODEL:
        name = shlex.quote(str(directory))
        raise ArtifactError(
            f"report of {directory}",
            found="a model",
            expected="the directory of a run, as recalign run makes it",
            hint=f"A model is shown by: recalign evaluate {name} --data DATA, or recalign page {name} --data DATA",
        )


def _other_format(text: str) -> str:
    """The format version of a document that has another; "" for anything else."""
    try:
        version = json.loads(text).get("format_version")
    except (ValueError, AttributeError):
        return ""
    return f"format version {version}" if version not in (None, FORMAT_VERSION) else ""
