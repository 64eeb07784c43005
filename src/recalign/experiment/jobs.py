"""What a run consists of: jobs, each kept in a store under a hash of all that it depends on.

A job's key is a hash of its settings and of the keys of what it is made from, down to the bytes of the input files. So
a changed setting gives new keys to the jobs that it touches and to no other, and equal jobs of several experiments are
one. Paths are relative to the store.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from recalign.artifacts import fingerprint
from recalign.baselines.config import BaselineConfig
from recalign.cot.config import TeachConfig
from recalign.experiment.prepare_config import PrepareConfig
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.tuning.config import StageConfig

KEY_LENGTH = 16
# Counts as an input of every job; raise it when the same settings give other results than before.
GENERATION = 1


class _Work(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrepareWork(_Work):
    """Prepare a data set."""

    kind: Literal["prepare"] = "prepare"
    config: PrepareConfig


class NanoWork(_Work):
    """Build the embedded backbone; what is stored is where the cache holds it."""

    kind: Literal["nano"] = "nano"
    backbone: BackboneConfig
    nano: NanoConfig
    sources: tuple[str, ...]
    targets: tuple[str, ...]


class TeachWork(_Work):
    """Ask a teacher for chain-of-thought data."""

    kind: Literal["teach"] = "teach"
    config: TeachConfig
    data: str


class BackboneRef(_Work):
    """A backbone: its configuration, and for nano the file that says where it is."""

    config: BackboneConfig
    built: str | None = None


class TuneWork(_Work):
    """Tune a stage."""

    kind: Literal["tune"] = "tune"
    config: StageConfig = Field(discriminator="kind")
    data: tuple[str, ...]
    backbone: BackboneRef
    parent: str | None = None
    validation: str | None = None
    unseen: tuple[str, ...] = ()
    cot: str | None = None


class BaselineWork(_Work):
    """Train a sequential baseline."""

    kind: Literal["baseline"] = "baseline"
    config: BaselineConfig
    data: str
    text_encoder: str | None = None


class CandidatesWork(_Work):
    """Freeze ranking candidates."""

    kind: Literal["candidates"] = "candidates"
    data: str
    split: str
    negatives: int


class ScoreWork(_Work):
    """Score a split, or candidates, with a saved model or in context."""

    kind: Literal["score"] = "score"
    data: str
    split: str
    seed: int
    label: str
    model: str | None = None
    in_context: BackboneRef | None = None
    demonstrations: int = 0
    candidates: str | None = None
    control: str = ""
    zero_shot: bool = False


Work = Annotated[
    PrepareWork | NanoWork | TeachWork | TuneWork | BaselineWork | CandidatesWork | ScoreWork,
    Field(discriminator="kind"),
]


class Job(_Work):
    """One job.

    Attributes:
        key: Hash of everything it depends on.
        name: For people.
        output: What it writes; it is done when this is there.
        needs: Keys of the jobs before it.
        shape: Equal for jobs that cost about the same (other seeds and folds).
        work: What it does.
    """

    key: str
    name: str
    output: str
    needs: tuple[str, ...]
    shape: str
    work: Work


def make_job(folder: str, name: str, work: Work, depends: object, needs: tuple[Job, ...], *, suffix: str = "") -> Job:
    """A job with its key.

    Args:
        folder: Folder of its kind in the store.
        name: For people.
        work: What it does.
        depends: Settings that decide the result, without paths and names.
        needs: The jobs that it is made from.
        suffix: Ending of its file; a directory has none.
    """
    key = fingerprint([GENERATION, work.kind, depends, [job.key for job in needs]])[:KEY_LENGTH]
    # what is scored or trained, and on which data, makes most of the cost
    shape = fingerprint([work.kind, _without_seed(depends), [job.shape for job in needs]])[:KEY_LENGTH]
    keys = tuple(dict.fromkeys(job.key for job in needs))
    return Job(key=key, name=name, output=f"{folder}/{key}{suffix}", needs=keys, shape=shape, work=work)


def _without_seed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_seed(item) for key, item in value.items() if key not in ("seed", "fold")}
    return [_without_seed(item) for item in value] if isinstance(value, (list, tuple)) else value
