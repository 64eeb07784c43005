"""The directory of scores: whose it is, which shards are there, and how a shard comes to be there exactly once.

::

    job.json               fingerprints of input and model, and the settings; written first
    part-00000.parquet     the scores of one shard
    rejects-00000.jsonl    its users who have no scores, and why
    part-00000.json        its manifest, written last: a shard is there when this is
    rejected-rows.jsonl    rows of the input that could not be read
    scores.json            written when all shards are there: counts, and hash and size of each file

Each file is written under a temporary name and renamed once. What is in it depends on input, model and settings alone.
So a shard that two workers write at the same time, or that is written again after a kill, has the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from recalign.artifacts import fingerprint, hash_file, write_file_atomic
from recalign.artifacts import io as disk
from recalign.artifacts.manifest import FileRecord
from recalign.artifacts.storage import locked, replace_file, storage_errors, try_lock
from recalign.errors import ArtifactError

JOB_FILE: Final = "job.json"
INDEX_FILE: Final = "scores.json"
ROWS_FILE: Final = "rejected-rows.jsonl"
_OURS: Final = (INDEX_FILE, "part-*.json", "part-*.parquet", "rejects-*.jsonl", ROWS_FILE)


class Job(BaseModel):
    """What decides the scores.

    Attributes:
        input: Fingerprints of the files that were given.
        model: Fingerprints of the model and of what it was used with.
        settings: All that was asked.
    """

    model_config = ConfigDict(frozen=True)

    input: dict[str, str]
    model: dict[str, str]
    settings: dict[str, object]

    @property
    def fingerprint(self) -> str:
        """Equal for equal scores."""
        return fingerprint(self)


class ShardRecord(BaseModel):
    """The manifest of a shard.

    Attributes:
        job: Fingerprint of the job.
        users, rows: How many users have scores, and how many scores there are.
        rejected_users: How many users have none.
        counts: Of the shard's events: how many there were, and how many were left out for which reason.
        rejected_rows: How many rows of the whole input could not be read, by reason.
        files: Hash and size of the shard's files.
    """

    model_config = ConfigDict(frozen=True)

    job: str
    shard: int
    users: int
    rows: int
    rejected_users: int
    counts: dict[str, int]
    rejected_rows: dict[str, int]
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Output:
    """A directory that belongs to a job."""

    directory: Path
    job: Job
    shards: int

    @classmethod
    def open(cls, directory: Path, job: Job, shards: int, *, restart: bool = False) -> Output:
        """Take an empty directory for a job, or one that already is the job's.

        Args:
            directory: Made where it is missing.
            job: What will be written there.
            shards: In how many parts.
            restart: Remove the scores of another job. Those of the same job stay.

        Raises:
            ArtifactError: The directory holds scores of another job, or anything else; or it cannot be written.
        """
        path = directory / JOB_FILE
        with storage_errors(path):
            directory.mkdir(parents=True, exist_ok=True)
            with locked(path):
                there = _job_of(path)
                if there is not None and there.fingerprint != job.fingerprint:
                    if not restart:
                        raise _other_job(directory, there, job)
                    _remove_all(directory)
                elif there is None and (others := [file for file in directory.iterdir() if file.name[0] != "."]):
                    found = ", ".join(sorted(file.name for file in others)[:3])
                    expected = "an empty directory, or scores of recalign"
                    raise ArtifactError(f"{directory} is taken", found=found, expected=expected)
                if there is None or there.fingerprint != job.fingerprint:
                    replace_file(path, _as_json({**job.model_dump(mode="json"), "fingerprint": job.fingerprint}))
        return cls(directory, job, shards)

    def record(self, shard: int) -> ShardRecord | None:
        """The manifest of a shard; None where the shard has to be made, or made again because a file is damaged."""
        try:
            record = ShardRecord.model_validate_json(self._path(shard, "part", "json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        sizes = {name: _size(self.directory / name) for name in record.files}
        whole = sizes == {name: file.bytes for name, file in record.files.items()}
        return record if whole and record.job == self.job.fingerprint else None

    @contextmanager
    def claimed(self, shard: int) -> Iterator[bool]:
        """Whether this worker has the shard to itself within the context; the kernel ends the claim of a dead one."""
        path = self.directory / f".part-{shard:05d}.claim"
        with storage_errors(path):
            descriptor = disk.open(path, os.O_RDWR | os.O_CREAT)
        mine = try_lock(descriptor)
        try:
            yield mine
        finally:
            if mine:
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def write(self, shard: int, scores: bytes, rejects: bytes, counts: Mapping[str, object]) -> ShardRecord:
        """Publish a shard: its scores (Parquet), its users without scores (JSON Lines), and last its manifest.

        Raises:
            ArtifactError: It cannot be written, or the directory has been given to another job meanwhile.
        """
        there = _job_of(self.directory / JOB_FILE)
        if there is None or there.fingerprint != self.job.fingerprint:
            raise _other_job(self.directory, there, self.job)
        files = {}
        for path, content in (
            (self._path(shard, "part", "parquet"), scores),
            (self._path(shard, "rejects", "jsonl"), rejects),
        ):
            write_file_atomic(path, content)
            files[path.name] = hash_file(path)
        fields = {"job": self.job.fingerprint, "shard": shard, "files": files, **counts}
        record = ShardRecord.model_validate(fields)
        write_file_atomic(self._path(shard, "part", "json"), _as_json(record.model_dump(mode="json")))
        return record

    def finish(self) -> list[int]:
        """Write the index if all shards are there. Returns the shards that are missing."""
        records = {shard: self.record(shard) for shard in range(self.shards)}
        there = [record for record in records.values() if record is not None]
        if len(there) == self.shards:
            totals = {name: sum(getattr(record, name) for record in there) for name in ("users", "rows")}
            index = {
                "job": self.job.fingerprint,
                "shards": self.shards,
                **totals,
                "rejected_users": sum(record.rejected_users for record in there),
                "counts": {name: sum(record.counts[name] for record in there) for name in there[0].counts},
                "rejected_rows": there[0].rejected_rows,
                "files": {name: file.model_dump() for record in there for name, file in record.files.items()},
            }
            write_file_atomic(self.directory / INDEX_FILE, _as_json(index))
            for claim in self.directory.glob(".part-*.claim"):  # of workers that were killed
                claim.unlink(missing_ok=True)
        return [shard for shard, record in records.items() if record is None]

    def _path(self, shard: int, stem: str, suffix: str) -> Path:
        return self.directory / f"{stem}-{shard:05d}.{suffix}"


def _job_of(path: Path) -> Job | None:
    """The job that a directory belongs to. Raises ArtifactError where the file is damaged."""
    try:
        return Job.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArtifactError(f"{path} is damaged", expected="the job of these scores", hint="Remove it all") from error


def _other_job(directory: Path, there: Job | None, job: Job) -> ArtifactError:
    found = "no job" if there is None else f"another {' and another '.join(_differing(there, job))}"
    hint = "Choose another --output, or make these scores anew: --restart"
    return ArtifactError(f"{directory} holds the scores of another job", found=found, expected="the same", hint=hint)


def _differing(there: Job, job: Job) -> list[str]:
    parts = [name for name in ("input", "model") if getattr(there, name) != getattr(job, name)]
    names = sorted(there.settings.keys() | job.settings.keys())
    return parts + [f"setting {name}" for name in names if there.settings.get(name) != job.settings.get(name)]


def _remove_all(directory: Path) -> None:
    """Remove what this module writes but the job itself, which is replaced: after a kill it is still the old one."""
    for pattern in _OURS:
        for path in directory.glob(pattern):
            disk.unlink(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _as_json(fields: Mapping[str, object]) -> bytes:
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode("ascii")
