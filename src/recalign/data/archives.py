"""Unpacking archives from strangers: zip and tar, into an empty folder of ours, or not at all.

Refused: absolute paths, ``..``, backslashes and drive letters, names that occur twice, links, devices and pipes,
encrypted members, and bombs by number, total size or ratio. Sizes are counted as bytes come out, whatever the headers
claim.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

from recalign.artifacts.storage import storage_errors
from recalign.errors import DataError

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an archive without members
_TABLES: Final = (".csv", ".tsv", ".dat", ".jsonl", ".ndjson", ".parquet", ".pq")
_CHUNK: Final = 1024 * 1024
# The largest header that tarfile may read in one piece: a "long name" of gigabytes would fill the memory.
_MAX_READ: Final = 16 * 1024 * 1024
_BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    # A name that is a file here and a folder there.
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may come out of an archive.

    Attributes:
        members: Files and folders.
        total_bytes: All files together.
        ratio: Bytes out per byte of archive, looked at once `free_bytes` have come out.
        free_bytes: See `ratio`; small archives of repetitive text are no bombs.
    """

    members: int = 100_000
    total_bytes: int = 16 * 1024**3
    ratio: float = 100.0
    free_bytes: int = 64 * 1024**2


def unpack(archive: Path, target: Path, limits: Limits | None = None) -> None:
    """Unpack a zip, tar, tar.gz or tar.bz2 archive into `target`.

    Args:
        archive: The file.
        target: An existing, empty folder that nobody else writes to. After an error it holds rubbish: remove it.
        limits: How much may come out.

    Raises:
        DataError: no zip or tar, damaged, or a member or size that is refused.
        ArtifactError: `target` cannot be written.
    """
    guard = _Guard(archive, target, limits or Limits(), archive.stat().st_size)
    with _archive_errors(guard, "a whole zip or tar file"):
        unpack_members = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
        unpack_members(archive, guard)


def is_packed(path: Path) -> bool:
    """Whether a file begins as gzip or zip files do. Raises OSError where it cannot be read."""
    with path.open("rb") as handle:
        return handle.read(4).startswith((_GZIP, *_ZIP))


def unpack_one(archive: Path, target: Path, name: Path, limits: Limits | None = None) -> Path:
    """Unpack a gzip file, or a zip archive of exactly one table.

    Documents beside the table and files that systems leave behind (hidden ones, ``__MACOSX``) are passed over.

    Args:
        archive: The file; `is_packed`.
        target: As in `unpack`.
        name: What the user calls the file, for messages; without ``.gz`` it names what comes out.
        limits: How much may come out.

    Returns:
        The file in `target`.

    Raises:
        DataError: damaged, refused as in `unpack`, or a zip archive that has no table or several.
        ArtifactError: `target` cannot be written.
    """
    guard = _Guard(name, target, limits or Limits(), archive.stat().st_size)
    with _archive_errors(guard, "a whole gzip or zip file"), archive.open("rb") as handle:
        if handle.peek(3).startswith(_GZIP):
            path = target / (name.stem if name.suffix.lower() == ".gz" else name.name)
            with gzip.GzipFile(fileobj=handle) as source:
                guard.write(source, name.name, path)
            return path
        with zipfile.ZipFile(handle) as bundle:
            return _extract(bundle, _only_table(bundle, name), guard)


def _only_table(bundle: zipfile.ZipFile, name: Path) -> zipfile.ZipInfo:
    files = [member for member in bundle.infolist() if not member.is_dir() and not _is_litter(member.filename)]
    if any(member.filename.startswith("xl/") for member in files):
        raise DataError(str(name), found="an Excel workbook", expected="a table", hint="Save the sheet as CSV (UTF-8)")
    tables = [member for member in files if Path(member.filename).suffix.lower() in _TABLES] or files
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(member.filename for member in tables[:8]) + (", …" if len(tables) > 8 else "")
    found = f"{len(tables)} files in it: {names}" if tables else "no file in it"
    raise DataError(str(name), found=found, expected="one table", hint="Unpack it and give the files")


def _is_litter(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


@contextmanager
def _archive_errors(guard: _Guard, expected: str) -> Iterator[None]:
    """Whatever a damaged archive makes decompressors raise, as a DataError."""
    with storage_errors(guard.target):
        try:
            yield
        except (*_BROKEN, OSError) as error:
            # The system's errors have a number; decompressors raise OSError without one.
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, _BROKEN):
                raise
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            found = f"no archive, or a damaged one ({reason})"
            raise DataError(str(guard.archive), found=found, expected=expected) from error


@dataclass
class _Guard:
    """What may be written where, and how much is left."""

    archive: Path
    target: Path
    limits: Limits
    packed: int
    members: int = 0
    written: int = 0
    seen: set[str] = field(default_factory=set)

    def refuse(self, name: str, found: str, expected: str = "plain files and folders below the archive") -> DataError:
        return DataError(f"member {name[:200]!r} of {self.archive}", found=found, expected=expected)

    def place(self, name: str) -> Path:
        """The path below `target` for a member, or an error."""
        self.members += 1
        if self.members > self.limits.members:
            raise self.refuse(name, f"more than {self.limits.members:,} members", "fewer")
        parts = name.rstrip("/").removeprefix("./").split("/")
        strange = any(unicodedata.category(char) in ("Cc", "Cs") for char in name)
        if name.startswith("/") or "\\" in name or strange or (len(name) > 1 and name[1] == ":"):
            raise self.refuse(name, "an absolute or malformed path")
        if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
            raise self.refuse(name, "a path that leaves its folder")
        key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        if key in self.seen:
            raise self.refuse(name, "the same name twice", "each name once")
        self.seen.add(key)
        return self.target.joinpath(*parts)

    def write(self, source: IO[bytes] | gzip.GzipFile, name: str, path: Path) -> None:
        """Copy a member out, as long as the sizes allow."""
        limit = self.limits
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o666), "wb") as sink:
            while chunk := source.read(_CHUNK):
                self.written += len(chunk)
                if self.written > limit.total_bytes:
                    raise self.refuse(name, f"more than {limit.total_bytes:,} bytes in all", "a smaller archive")
                if self.written > limit.free_bytes and self.written > limit.ratio * self.packed:
                    raise self.refuse(name, f"more than {limit.ratio:g} bytes per packed byte", "data, not a bomb")
                sink.write(chunk)


def _unpack_zip(archive: Path, guard: _Guard) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            _extract(bundle, member, guard)


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, guard: _Guard) -> Path:
    path = guard.place(member.orig_filename if "\0" in member.orig_filename else member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise guard.refuse(member.filename, "a link or device")
    if member.flag_bits & 0x1:
        raise guard.refuse(member.filename, "an encrypted member")
    # Not LZMA: a header of it may ask for gigabytes of memory.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        raise guard.refuse(member.filename, f"compression method {member.compress_type}", "deflate or none")
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return path
    with bundle.open(member) as source:
        guard.write(source, member.filename, path)
    return path


def _unpack_tar(archive: Path, guard: _Guard) -> None:
    # Not tarfile's own detection: it reads the first header, of whatever length, before anyone can look. And not xz: a
    # header of it may ask for gigabytes of memory.
    with archive.open("rb") as handle:
        magic = handle.read(3)
    streams: dict[bytes, type[gzip.GzipFile | bz2.BZ2File]] = {b"\x1f\x8b\x08": gzip.GzipFile, b"BZh": bz2.BZ2File}
    with streams.get(magic, io.FileIO)(archive) as stream, tarfile.open(fileobj=_Bounded(stream), mode="r:") as bundle:
        for member in bundle:
            if member.isdir() and member.name in (".", "./"):
                continue
            path = guard.place(member.name)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                with cast("IO[bytes]", bundle.extractfile(member)) as source:  # None only for what is no file
                    guard.write(source, member.name, path)
            else:
                raise guard.refuse(member.name, "a link, device or sparse file")


class _Bounded(io.BufferedReader):
    """A stream that refuses to be read in huge pieces."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _MAX_READ:
            raise tarfile.TarError(f"a header of {size} bytes")
        return super().read(size)
