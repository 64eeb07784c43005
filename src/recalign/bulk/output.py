"""The directory of scores: whose it is, which shards are there, and how a shard comes to be there exactly once.

::

    job.json               fingerprints of input and model, and the settings; written first
    part-00000.parquet     the scores of one shard
    rejects-00000.jsonl    its users who have no scores, and why
    part-00000.json        its manifest, written last: a shard is there when this is
    rejected-rows.jsonl    rows of the input that could not be read
    scores.json            written when all shards are there: counts, and hash and size of each file

Each file is written whole or not at all (`recalign.bulk.folders`). What is in it depends on input, model and settings
alone. So a shard that two workers write at the same time, or that is written again after a kill, has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from recalign.artifacts import fingerprint
from recalign.artifacts.manifest import FileRecord
from recalign.bulk.folders import Folder, folder_at
from recalign.bulk.places import Place
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
    """A folder that belongs to a job."""

    place: Place
    folder: Folder
    job: Job
    shards: int

    @classmethod
    def open(cls, place: Place, job: Job, shards: int, *, restart: bool = False) -> Output:
        """Take an empty folder for a job, or one that already is the job's.

        Args:
            place: Where it is; made where it is missing.
            job: What will be written there.
            shards: In how many parts.
            restart: Remove the scores of another job. Those of the same job stay.

        Raises:
            ArtifactError: The folder holds scores of another job, or anything else; or it cannot be written.
            ConfigError: The place is a URL that is none.
        """
        output = cls(place, folder_at(place), job, shards)
        folder = output.folder
        folder.make()
        with folder.alone():
            there = output._job()
            if there is not None and there.fingerprint != job.fingerprint:
                if not restart:
                    raise output._other_job(there)
                # not the job itself, which is replaced: after a kill it is still the old one
                for name in folder.names():
                    if any(fnmatch(name, pattern) for pattern in _OURS):
                        folder.remove(name)
            elif there is None and (others := folder.names()):
                found = ", ".join(sorted(others)[:3])
                expected = "an empty directory, or scores of recalign"
                raise ArtifactError(f"{place} is taken", found=found, expected=expected)
            if there is None or there.fingerprint != job.fingerprint:
                folder.write(JOB_FILE, _as_json({**job.model_dump(mode="json"), "fingerprint": job.fingerprint}))
        return output

    def record(self, shard: int) -> ShardRecord | None:
        """The manifest of a shard; None where the shard has to be made, or made again because a file is damaged."""
        content = self.folder.read(_name(shard, "part", "json"))
        try:
            record = None if content is None else ShardRecord.model_validate_json(content)
        except ValidationError:
            return None
        if record is None or record.job != self.job.fingerprint:
            return None
        whole = all(self.folder.size(name) == file.bytes for name, file in record.files.items())
        return record if whole else None

    def missing(self, shards: Sequence[int]) -> list[int]:
        """Those of some shards that have to be made."""
        return [shard for shard in shards if self.record(shard) is None]

    @contextmanager
    def claimed(self, shard: int) -> Iterator[bool]:
        """Whether this worker has the shard to itself within the context."""
        with self.folder.claimed(f"part-{shard:05d}") as mine:
            yield mine

    def write(self, shard: int, scores: bytes, rejects: bytes, counts: Mapping[str, object]) -> ShardRecord:
        """Publish a shard: its scores (Parquet), its users without scores (JSON Lines), and last its manifest.

        Raises:
            ArtifactError: It cannot be written, or the folder has been given to another job meanwhile.
        """
        there = self._job()
        if there is None or there.fingerprint != self.job.fingerprint:
            raise self._other_job(there)
        files = {_name(shard, "part", "parquet"): scores, _name(shard, "rejects", "jsonl"): rejects}
        for name, content in files.items():
            self.folder.write(name, content)
        hashes = {name: _hashed(content) for name, content in files.items()}
        fields = {"job": self.job.fingerprint, "shard": shard, "files": hashes, **counts}
        record = ShardRecord.model_validate(fields)
        self.folder.write(_name(shard, "part", "json"), _as_json(record.model_dump(mode="json")))
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
            self.folder.write(INDEX_FILE, _as_json(index))
            self.folder.remove_claims()
        return [shard for shard, record in records.items() if record is None]

    def _job(self) -> Job | None:
        """The job that the folder belongs to. Raises ArtifactError where the file is damaged."""
        content = self.folder.read(JOB_FILE)
        try:
            return None if content is None else Job.model_validate_json(content)
        except ValidationError as error:
            thing = f"{self.place}/{JOB_FILE} is damaged"
            raise ArtifactError(thing, expected="the job of these scores", hint="Remove it all") from error

    def _other_job(self, there: Job | None) -> ArtifactError:
        found = "no job" if there is None else f"another {' and another '.join(_differing(there, self.job))}"
        hint = "Choose another --output, or make these scores anew: --restart"
        return ArtifactError(
            f"{self.place} holds the scores of another job", found=found, expected="the same", hint=hint
        )


def _differing(there: Job, job: Job) -> list[str]:
    parts = [name for name in ("input", "model") if getattr(there, name) != getattr(job, name)]
    names = sorted(there.settings.keys() | job.settings.keys())
    return parts + [f"setting {name}" for name in names if there.settings.get(name) != job.settings.get(name)]


def _name(shard: int, stem: str, suffix: str) -> str:
    return f"{stem}-{shard:05d}.{suffix}"


def _hashed(content: bytes) -> FileRecord:
    return FileRecord(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _as_json(fields: Mapping[str, object]) -> bytes:
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode("ascii")
