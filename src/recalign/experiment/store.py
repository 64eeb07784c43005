"""What a run consists of: jobs, and the store that keeps what they make under their keys, and what each of them cost.

A job's key is a hash of its settings and of the keys of what it is made from, down to the bytes of the input files. So
a changed setting gives new keys to the jobs that it touches and to no other, and equal jobs of several experiments are
one. Paths are relative to the store::

    STORE/data|cot|models|candidates/KEY/   artefacts
    STORE/backbones/KEY.json                where the cache holds a built backbone
    STORE/scores/KEY.parquet                score files
    STORE/log/KEY.json                      name, seconds, CPU seconds, machine, shape of each finished job
    STORE/failed/KEY.txt                    what went wrong in the last attempt of a job

Artefacts appear under their names when they are complete, so what is there is done. One run works in a store at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recalign.artifacts import fingerprint, write_file_atomic
from recalign.artifacts.storage import try_lock
from recalign.baselines.config import BaselineConfig
from recalign.cot.config import TeachConfig
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.experiment.prepare_config import PrepareConfig
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.tuning.config import StageConfig

FOLDERS = ("data", "backbones", "cot", "models", "candidates", "scores", "log", "failed")
KEY_LENGTH = 16
# Counts as an input of every job; raise it when the same settings give other results than before.
GENERATION = 3


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
    template: str = ""
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
        shape: Equal for jobs that cost about the same (other seeds, folds and orders).
        work: What it does.
    """

    key: str
    name: str
    output: str
    needs: tuple[str, ...]
    shape: str
    work: Work


def make_job(folder: str, name: str, work: Work, depends: object, needs: tuple[Job, ...], *, suffix: str = "") -> Job:
    """A job with its key, in the folder of its kind; its output is a directory unless it has a suffix.

    `depends` is the settings that decide the result, without paths and names; `needs` the jobs that it is made from.
    """
    key = fingerprint([GENERATION, work.kind, depends, [job.key for job in needs]])[:KEY_LENGTH]
    # what is scored or trained, and on which data, makes most of the cost
    shape = fingerprint([work.kind, _without_seed(depends), [job.shape for job in needs]])[:KEY_LENGTH]
    keys = tuple(dict.fromkeys(job.key for job in needs))
    return Job(key=key, name=name, output=f"{folder}/{key}{suffix}", needs=keys, shape=shape, work=work)


def _without_seed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_seed(item) for key, item in value.items() if key not in ("seed", "fold", "order_seed")}
    return [_without_seed(item) for item in value] if isinstance(value, (list, tuple)) else value


class Cost(NamedTuple):
    """What a job took: wall-clock and CPU seconds, on which kind of machine (`machine_kind`; "" where nobody knows)."""

    seconds: float
    cpu_seconds: float
    machine: str = ""


class BuiltBackbone(BaseModel):
    """What is stored of a built backbone: the directory in the cache."""

    directory: Path


class _Record(BaseModel):
    """What is stored of a finished job."""

    name: str
    shape: str
    seconds: float
    cpu_seconds: float
    machine: str = ""  # records of earlier versions have none


Model = TypeVar("Model", bound=BaseModel)


class Store:
    """Paths and records below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, output: str) -> Path:
        """A job's output as a path."""
        return self.root / output

    def is_done(self, job: Job) -> bool:
        """Whether a job's output is there; of a built backbone, also the directory in the cache."""
        path = self.path(job.output)
        if not isinstance(job.work, NanoWork):
            return path.exists()
        built = _read(path, BuiltBackbone)
        return built is not None and built.directory.is_dir()

    def all_done(self, jobs: Sequence[Job]) -> bool:
        """Whether there are jobs, and all of them are done."""
        return bool(jobs) and all(self.is_done(job) for job in jobs)

    def data(self, output: str) -> SampleSet:
        """The prepared data that a job left."""
        return SampleSet.load(self.path(output))

    def backbone(self, ref: BackboneRef) -> BackboneConfig:
        """The backbone's configuration; a built one has its directory in the cache as its name."""
        if ref.built is None:
            return ref.config
        built = BuiltBackbone.model_validate_json(self.path(ref.built).read_bytes())
        return ref.config.model_copy(update={"name": str(built.directory)})

    def prepare(self) -> None:
        """Make the folders."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def record(self, job: Job, cost: Cost) -> None:
        """Remember what a job took."""
        entry = _Record(name=job.name, shape=job.shape, **cost._asdict())
        write_file_atomic(self.root / "log" / f"{job.key}.json", entry.model_dump_json(indent=1).encode())
        (self.root / "failed" / f"{job.key}.txt").unlink(missing_ok=True)

    def record_failure(self, job: Job, report: str) -> Path:
        """Keep the whole report of a failure; returns where."""
        path = self.root / "failed" / f"{job.key}.txt"
        write_file_atomic(path, f"{job.name}\n\n{report}\n".encode())
        return path

    def cost(self, job: Job) -> Cost | None:
        """What a finished job took; None where nothing was recorded."""
        entry = _read(self.root / "log" / f"{job.key}.json", _Record)
        return Cost(entry.seconds, entry.cpu_seconds, entry.machine) if entry else None

    def costs_by_shape(self, machine: str | None = None) -> dict[str, float]:
        """Mean CPU seconds of the finished jobs of each shape: of all, or of those on one kind of machine."""
        costs: dict[str, list[float]] = {}
        for path in sorted((self.root / "log").glob("*.json")):
            if (entry := _read(path, _Record)) and machine in (None, entry.machine):
                costs.setdefault(entry.shape, []).append(entry.cpu_seconds)
        return {shape: fmean(values) for shape, values in costs.items()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run.

        Raises:
            ConfigError: Another run holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            if not try_lock(handle.fileno()):
                raise ConfigError(
                    f"store {self.root}",
                    found="another run at work in it",
                    expected="one at a time",
                    hint="Wait for it, give it more --jobs, or choose another --store.",
                )
            yield


def _read(path: Path, model: type[Model]) -> Model | None:
    """A record; None where there is none, or one that a crash cut short (what it says can be made again)."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
