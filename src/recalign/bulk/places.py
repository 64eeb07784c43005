"""Where tables are read and scores are written: a path, or the URL of an object store (``s3://bucket/folder``).

Object stores are reached through pyarrow, which takes credentials from the environment, a profile or the machine's
role. They never stand in a URL, for URLs stand in logs and lists of processes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from recalign.artifacts import fingerprint, hash_file
from recalign.artifacts.storage import storage_errors
from recalign.data.parsing.files import part_files, refuse_stream
from recalign.errors import ConfigError, DataError, did_you_mean_path

_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True)
class ObjectUrl:
    """A place in an object store, such as ``s3://bucket/folder?endpoint_override=127.0.0.1:9000&scheme=http``."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        """What messages show: the URL without its options."""
        return self.text.partition("?")[0]

    @property
    def name(self) -> str:
        """The last part of its path; of a whole bucket, the bucket's."""
        parts = urlsplit(self.text)
        return f"{parts.netloc}{parts.path}".rstrip("/").rpartition("/")[2]

    def opened(self) -> tuple[Any, str]:
        """The pyarrow file system, and the path in it. Raises ConfigError where pyarrow knows no such URL."""
        from pyarrow.fs import FileSystem

        try:
            filesystem, path = FileSystem.from_uri(self.text)
        except (OSError, ValueError) as error:
            expected = "a path, file://, or the URL of an object store: s3://bucket/folder"
            raise ConfigError(f"place {self}", found=self.reason(error), expected=expected) from None
        return filesystem, path.rstrip("/")

    def reason(self, error: Exception) -> str:
        """Why something failed, without what a store may say of keys, and without the options of the URL."""
        known = re.search(r"AWS Error [A-Z_]+|Could not resolve host\w*|Could ?n.t connect to server", str(error))
        return known.group() if known else str(error).partition(":")[0][:120] or type(error).__name__


Place = Path | ObjectUrl


def place(text: str | Path) -> Place:
    """What a text means: a path, a ``file://`` URL, or the URL of an object store.

    Raises:
        ConfigError: The URL holds credentials, or is one of a file on another machine.
    """
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.password is not None or (parts.scheme == "s3" and parts.username is not None):
        hint = "Leave them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise ConfigError(f"a URL of {parts.scheme}://", found="credentials in it", expected="none", hint=hint)
    if parts.scheme != "file":
        return ObjectUrl(text)
    if parts.netloc not in ("", "localhost"):
        raise ConfigError(f"place {text}", found=f"host {parts.netloc}", expected="file:///PATH on this machine")
    return Path(unquote(parts.path))


@dataclass(frozen=True)
class Tables:
    """The tables of a request as files that are at hand."""

    users: Path
    pairs: Path | None

    def fingerprints(self) -> dict[str, str]:
        """Of each table. Raises DataError where one is missing or a pipe, which could not be read again."""
        tables = {"users": self.users} | ({} if self.pairs is None else {"pairs": self.pairs})
        return {name: _fingerprint(path, f"a table of {name}") for name, path in tables.items()}


def _fingerprint(path: Path, what: str) -> str:
    if not path.exists():
        raise DataError(str(path), found="nothing there", expected=what, hint=did_you_mean_path(path))
    files = part_files(path, what)
    for file in files:
        refuse_stream(file)
    return fingerprint([hash_file(file).sha256 for file in files])


@contextmanager
def at_hand(users: Place, pairs: Place | None) -> Iterator[Tables]:
    """Tables as files: those of an object store are copied to the temporary folder for as long as they are read.

    Raises:
        ConfigError: A URL is none that pyarrow knows.
        DataError: A table of an object store is missing, or cannot be read.
        ArtifactError: The temporary folder cannot be written.
    """
    with ExitStack() as stack:

        def file(table: Place) -> Path:
            if isinstance(table, Path):
                return table
            return _fetched(table, Path(stack.enter_context(TemporaryDirectory(prefix="recalign-"))))

        yield Tables(file(users), None if pairs is None else file(pairs))


def _fetched(url: ObjectUrl, folder: Path) -> Path:
    """A copy of a table's file, or of the folder of its parts, under its own name."""
    from pyarrow.fs import FileSelector, FileType

    filesystem, source = url.opened()
    target = folder / url.name
    try:
        kind = filesystem.get_file_info(source).type
        if kind == FileType.NotFound:
            raise DataError(str(url), found="nothing there", expected="a table")
        if kind == FileType.File:
            _copy(filesystem, source, target)
            return target
        target.mkdir()
        for entry in filesystem.get_file_info(FileSelector(source)):
            if entry.is_file:
                _copy(filesystem, entry.path, target / entry.base_name)
            else:
                (target / entry.base_name).mkdir()  # said to be no part, as in a folder of files
    except OSError as error:
        raise DataError(str(url), found=url.reason(error), expected="a readable table") from None
    return target


def _copy(filesystem: Any, source: str, target: Path) -> None:
    with filesystem.open_input_stream(source) as stream, storage_errors(target), target.open("wb") as copy:
        shutil.copyfileobj(stream, copy, _CHUNK)
