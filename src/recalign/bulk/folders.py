"""Where the files of an output lie: a directory of a file system, or a prefix of an object store.

Each file is written whole or not at all. A directory has renames and locks. An object store has neither: there a file
is one upload, which appears when it is complete, and nobody can claim a shard. That does no harm: what a shard's files
hold depends on input, model and settings alone, so two workers that make one shard write the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recalign.artifacts import io as disk
from recalign.artifacts import write_file_atomic
from recalign.artifacts.storage import locked, storage_errors, try_lock
from recalign.bulk.places import ObjectUrl, Place
from recalign.errors import ArtifactError


class Folder(Protocol):
    """A place that holds files. Its methods raise ArtifactError where it cannot be read or written."""

    def make(self) -> None:
        """Make it where it is missing."""

    def names(self) -> list[str]:
        """The files that are there, but no locks and no temporary ones."""

    def read(self, name: str) -> bytes | None:
        """What is in a file; None where there is none."""

    def size(self, name: str) -> int:
        """Bytes of a file; -1 where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the context no other worker changes whose folder it is, where that can be had."""

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Whether this worker has `name` to itself within the context. Where there are no claims: always."""

    def remove_claims(self) -> None:
        """Remove what claims of dead workers left."""


@dataclass(frozen=True)
class Directory:
    """A folder of a file system, with renames and locks of the kernel."""

    path: Path

    def make(self) -> None:
        """See `Folder`."""
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """See `Folder`."""
        with storage_errors(self.path):
            return [entry.name for entry in self.path.iterdir() if entry.name[0] != "."]

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int:
        """See `Folder`."""
        path = self.path / name
        return path.stat().st_size if path.is_file() else -1

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        write_file_atomic(self.path / name, data)

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with storage_errors(self.path / name):
            disk.unlink(self.path / name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Folder`."""
        with locked(self.path / "output"):
            yield

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """See `Folder`. The kernel ends the claim of a worker that dies."""
        path = self.path / f".{name}.claim"
        with storage_errors(path):
            descriptor = disk.open(path, os.O_RDWR | os.O_CREAT)
        mine = try_lock(descriptor)
        try:
            yield mine
        finally:
            if mine:
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def remove_claims(self) -> None:
        """See `Folder`."""
        for claim in self.path.glob(".*.claim"):
            claim.unlink(missing_ok=True)


class ObjectPrefix:
    """A folder of an object store.

    Args:
        url: What messages call it.
        filesystem: Its pyarrow file system.
        prefix: Where in the file system it is.
    """

    def __init__(self, url: ObjectUrl, filesystem: Any, prefix: str) -> None:
        self.url, self._files, self._prefix = url, filesystem, prefix

    def make(self) -> None:
        """See `Folder`. There is nothing to make: folders are parts of names."""

    def names(self) -> list[str]:
        """See `Folder`."""
        from pyarrow.fs import FileSelector

        with self._errors("list"):
            entries = self._files.get_file_info(FileSelector(self._prefix, allow_not_found=True))
        return [entry.base_name for entry in entries if entry.is_file and entry.base_name]

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        with self._errors("read"):
            try:
                with self._files.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int:
        """See `Folder`."""
        with self._errors("read"):
            entry = self._files.get_file_info(self._path(name))
        return int(entry.size) if entry.is_file else -1

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`: one upload."""
        with self._errors("write"), self._files.open_output_stream(self._path(name)) as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with self._errors("remove"):
            self._files.delete_file(self._path(name))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Folder`. Two jobs that begin at the same time are told apart when they write: `Output.write`."""
        yield

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """See `Folder`."""
        yield True

    def remove_claims(self) -> None:
        """See `Folder`."""

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "Check the URL, the endpoint and the rights; credentials are read from the environment"
            raise ArtifactError(f"cannot {verb} {self.url}", found=self.url.reason(error), hint=hint) from None


def folder_at(place: Place) -> Folder:
    """The folder of an output. Raises ConfigError for a URL that is none."""
    if isinstance(place, Path):
        return Directory(place)
    return ObjectPrefix(place, *place.opened())
