"""The store: where jobs keep what they make, under their keys, and what each of them cost.

::

    STORE/data|cot|models|candidates/KEY/   artefacts
    STORE/backbones/KEY.json                where the cache holds a built backbone
    STORE/scores/KEY.parquet                score files
    STORE/log/KEY.json                      name, seconds, CPU seconds, shape of each finished job
    STORE/failed/KEY.txt                    what went wrong in the last attempt of a job

Artefacts appear under their names when they are complete, so what is there is done. One run works in a store at a time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from recalign.artifacts import write_file_atomic
from recalign.errors import ConfigError
from recalign.experiment.jobs import Job, NanoWork

FOLDERS = ("data", "backbones", "cot", "models", "candidates", "scores", "log", "failed")


@dataclass(frozen=True)
class Cost:
    """What a job took: wall-clock and CPU seconds."""

    seconds: float
    cpu_seconds: float


class BuiltBackbone(BaseModel):
    """What is stored of a built backbone: the directory in the cache."""

    directory: Path


class _Record(BaseModel):
    """What is stored of a finished job."""

    name: str
    shape: str
    seconds: float
    cpu_seconds: float


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

    def backbone(self, output: str) -> Path:
        """Where the cache holds a built backbone."""
        return BuiltBackbone.model_validate_json(self.path(output).read_bytes()).directory

    def prepare(self) -> None:
        """Make the folders."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def record(self, job: Job, cost: Cost) -> None:
        """Remember what a job took."""
        entry = _Record(name=job.name, shape=job.shape, seconds=cost.seconds, cpu_seconds=cost.cpu_seconds)
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
        return Cost(entry.seconds, entry.cpu_seconds) if entry else None

    def costs_by_shape(self) -> dict[str, float]:
        """Mean CPU seconds of the finished jobs of each shape."""
        costs: dict[str, list[float]] = {}
        for path in sorted((self.root / "log").glob("*.json")):
            if entry := _read(path, _Record):
                costs.setdefault(entry.shape, []).append(entry.cpu_seconds)
        return {shape: sum(values) / len(values) for shape, values in costs.items()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run.

        Raises:
            ConfigError: Another run holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"store {self.root}",
                    found="another run at work in it",
                    expected="one at a time",
                    hint="Wait for it, give it more --jobs, or choose another --store.",
                ) from None
            yield


def _read(path: Path, model: type[Model]) -> Model | None:
    """A record; None where there is none, or one that a crash cut short (what it says can be made again)."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
