"""What holds a user's file: nothing, a pipe, gzip or zip. Readers get plain content, which they may read again.

A pipe can be read once, and readers look at a file more than once (for its encoding, its separator, its rows). So a
pipe is copied, and a compressed file unpacked, to the temporary folder (``TMPDIR``) for as long as it is read.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from recalign.artifacts.storage import storage_errors
from recalign.data.archives import Limits, is_packed, unpack_one
from recalign.errors import ArtifactError, DataError, did_you_mean_path

_CHUNK: Final = 1024 * 1024
_STREAMS: Final = (Path("/dev"), Path("/dev/fd"))


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that can be read again and again.

    Attributes:
        path: What the user calls it: for messages and accounts.
        content: Where its plain content lies. Its suffix is that of the file inside.
        sha256: Of the bytes that came, where `path` is a pipe; else None.
    """

    path: Path
    content: Path
    sha256: str | None = None


@contextmanager
def opened(path: Path, limits: Limits | None = None) -> Iterator[InputFile]:
    """Make the plain content of a file available. What is inside what is found by the first bytes, not by names.

    Args:
        path: A file, a pipe such as ``/dev/stdin``, or a gzip or zip file of one table.
        limits: How much may come out of a compressed file.

    Raises:
        DataError: it cannot be read, is damaged, holds several files, or more than `limits` allow.
        ArtifactError: the temporary folder cannot be written.
    """
    with ExitStack() as stack:
        held, sha256 = path, None
        try:
            if is_stream(path):
                held, sha256 = _copied(path, _folder(stack))
            packed = is_packed(held)
        except OSError as error:
            found, hint = error.strerror or type(error).__name__, ""
            if isinstance(error, FileNotFoundError):
                found, hint = "no such file", did_you_mean_path(path)
            raise DataError(str(path), found=found, expected="a readable file", hint=hint) from error
        content = unpack_one(held, _folder(stack), path, limits) if packed else held
        yield InputFile(path, content, sha256)


def is_stream(path: Path) -> bool:
    """Whether a path is no file that could be read twice: a pipe, a socket, a device, or standard input.

    Raises:
        OSError: there is nothing at the path.
    """
    mode = path.stat().st_mode
    return path.parent in _STREAMS or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_empty(file: InputFile) -> bool:
    """Whether nothing is in a file."""
    return file.content.stat().st_size == 0


def _folder(stack: ExitStack) -> Path:
    try:
        return Path(stack.enter_context(TemporaryDirectory(prefix="recalign-")))
    except OSError as error:
        found = error.strerror or str(error)
        raise ArtifactError(
            "the temporary folder", found=found, hint="Name one that can be written: TMPDIR=DIR"
        ) from error


def _copied(path: Path, folder: Path) -> tuple[Path, str]:
    """A copy of all that comes out of a pipe, and its SHA-256."""
    digest = hashlib.sha256()
    copy = folder / path.name
    with path.open("rb") as source, storage_errors(copy), copy.open("wb") as sink:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            sink.write(chunk)
    return copy, digest.hexdigest()
