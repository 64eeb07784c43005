"""``manifest.json``: what an artefact is, what it was made from, and the hash of every file in it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from numbers import Integral, Real
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from recalign.artifacts import storage
from recalign.errors import ArtifactError, did_you_mean_path

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
Json = dict[str, Any]  # an object of a JSON file, whose entries the reader of that file knows
# Kind -> what it is for people, and the command that makes one: for the errors of whoever named something else.
MADE_BY: Final = {
    "samples": ("a prepared directory", "recalign prepare DATASET --input FILE --output DIR"),
    "model": ("a tuned model", "recalign tune --data DIR --output RUN"),
    "baseline": ("a trained baseline", "recalign baseline NAME --data DIR --output DIR"),
    "cot": ("chain-of-thought data", "recalign teach DATA --output DIR"),
    "ranking-candidates": ("ranking candidates", "recalign candidates DATA --output DIR"),
    "index": ("an index", "recalign index DATA --output DIR"),
}
_HASH = r"^[0-9a-f]{64}$"


class FileRecord(BaseModel):
    """Hash (64 hex digits) and size of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=_HASH)
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """Content of ``manifest.json``.

    Attributes:
        kind: What the directory is, e.g. ``samples``.
        format_version: `FORMAT_VERSION` of the writer.
        recalign_version: Version of the library that wrote it.
        created: UTC time in ISO 8601; not in the fingerprint.
        fingerprint: SHA-256 over kind, format version, config, parents and files: equal for equal content.
        parents: Name of each input artefact → its fingerprint.
        config: The configuration that produced it.
        info: Free facts (counts, timings, log of test reads); not in the fingerprint.
        files: Relative POSIX path → record, of every file but the manifest.
        checksum: SHA-256 over all other fields, so that a flipped bit in the manifest itself is noticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    format_version: int
    recalign_version: str
    created: str
    fingerprint: str = Field(pattern=_HASH)
    parents: dict[str, str]
    config: Json
    info: Json
    files: dict[str, FileRecord]
    checksum: str = Field(pattern=_HASH)

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            if not is_inside(name):
                raise ValueError(f"file name {name!r} does not stay inside the artefact")
        return files


def is_inside(name: str) -> bool:
    """Whether `name` is a normal relative POSIX path that cannot leave its directory (nor be the manifest)."""
    path = PurePosixPath(name)
    plain = path.as_posix() == name and name not in (".", MANIFEST_NAME) and not set(name) & {"\\", "\0", ":"}
    return plain and not path.is_absolute() and ".." not in path.parts


def plain(value: Any) -> Any:
    """Reduce `value` to what JSON can hold exactly (pydantic models and tuples included). Raises as `fingerprint`."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"a key of a manifest must be a string, not {odd[0]!r}")
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):  # NumPy's numbers are numbers too
        if not math.isfinite(value):
            raise ValueError(f"a manifest holds finite numbers only, not {value!r}")
        return float(value)
    raise TypeError(f"{type(value).__name__} has no form in a manifest")


def fingerprint(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`: keys sorted, so order and spacing do not matter.

    Raises:
        ValueError: `value` holds a NaN or an infinite number.
        TypeError: it holds something that JSON has no form for, or a key that is no string.
    """
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def content_fingerprint(fields: Mapping[str, Any]) -> str:
    """The `Manifest.fingerprint` of an artefact with these fields."""
    return fingerprint({name: fields[name] for name in ("kind", "format_version", "config", "parents", "files")})


def encode(fields: Mapping[str, Any]) -> bytes:
    """Render the manifest's fields (all but the checksum) with their checksum as the bytes of the file."""
    body = plain(fields)
    return (json.dumps({**body, "checksum": fingerprint(body)}, indent=2, sort_keys=True) + "\n").encode("ascii")


def hash_file(path: Path) -> FileRecord:
    """Hash the file at `path`."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return FileRecord(sha256=digest.hexdigest(), bytes=stream.tell())


def load(directory: Path, *, expected: str = "", hint: str = "") -> Manifest:
    """Read and check the manifest alone: its form, version, checksum and fingerprint.

    `expected` and `hint` are said where there is none, unless another name is near.

    Raises:
        ArtifactError: there is none, or it is torn, altered or of a newer format.
    """
    path = directory / MANIFEST_NAME
    try:
        document = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except FileNotFoundError as error:
        found = f"no {MANIFEST_NAME} in it" if directory.is_dir() else "no such directory"
        hint = did_you_mean_path(directory) or hint  # "" where the directory is there
        thing = f"{directory} is no artefact of recalign"
        raise ArtifactError(thing, found=found, expected=expected, hint=hint) from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}", found=error.strerror or type(error).__name__) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"no valid JSON ({error})", "a complete manifest") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ArtifactError(
            f"{directory} was written by a newer recalign",
            found=f"format version {version}",
            expected=f"at most {FORMAT_VERSION}",
            hint="Upgrade recalign.",
        )
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise _damaged(path, f"{field}: {first['msg']}", "a manifest of recalign") from error
    body = {key: value for key, value in document.items() if key != "checksum"}
    _expect(path, "checksum", fingerprint(body), manifest.checksum)
    _expect(path, "fingerprint", content_fingerprint(manifest.model_dump()), manifest.fingerprint)
    return manifest


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _expect(path: Path, what: str, found: str, expected: str) -> None:
    if found != expected:
        raise _damaged(path, f"{what} {found[:12]}", expected[:12])


def _damaged(path: Path, found: str, expected: str) -> ArtifactError:
    hint = "The file was altered or damaged: make the artefact again or restore it from a copy."
    return ArtifactError(f"{path} is damaged", found=found, expected=expected, hint=hint)


def read_manifest(directory: Path, *, kind: str | None = None, verify: bool = True) -> Manifest:
    """Read an artefact's manifest and, with `verify`, check every file it lists against its hash.

    Where a process died in the middle of an overwrite, the previous artefact is first put back in place.

    Raises:
        ArtifactError: no artefact there, one of another kind or of a newer format, or a missing, truncated or altered
            file (the message names it).
    """
    what, command = MADE_BY.get(kind or "", ("", ""))
    hint = f"Make one: {command}" if command else ""
    if directory.is_file():
        raise ArtifactError(f"{directory} is no artefact of recalign", found="a file", expected=what, hint=hint)
    storage.recover(directory)
    manifest = load(directory, expected=what, hint=hint)
    if kind is not None and manifest.kind != kind:
        expected = f"{kind!r}, {what}" if what else repr(kind)
        raise ArtifactError(f"{directory} is of another kind", found=repr(manifest.kind), expected=expected, hint=hint)
    if verify:
        _verify(directory, manifest)
    return manifest


def _verify(directory: Path, manifest: Manifest) -> None:
    """Check every file of `manifest`. A link to elsewhere counts as damage; files it does not list are ignored."""
    root = directory.resolve()
    for name, expected in sorted(manifest.files.items()):
        path = directory / name
        if not path.resolve().is_relative_to(root):
            raise _damaged(path, "a link that leaves the artefact", "a plain file")
        if not path.is_file():
            raise _damaged(path, "no such file", f"{expected.bytes} bytes")
        size = path.stat().st_size
        if size != expected.bytes:
            raise _damaged(path, f"{size} bytes", f"{expected.bytes} bytes")
        try:
            found = hash_file(path)
        except OSError as error:
            raise ArtifactError(f"cannot read {path}", found=error.strerror or type(error).__name__) from error
        _expect(path, "sha256", found.sha256, expected.sha256)


def append_info(directory: Path, key: str, entry: Any) -> None:
    """Append `entry` (anything JSON has a form for) to the list ``info[key]``, e.g. the log of test-set reads.

    The manifest is replaced atomically under a lock, so concurrent processes lose no entry. The artefact's fingerprint
    does not change.

    Raises:
        ArtifactError: no valid artefact there, ``info[key]`` is no list, or the directory is not writable.
    """
    path = directory / MANIFEST_NAME
    load(directory)  # a directory that is no artefact is reported as that, and gets no lock file
    with storage.storage_errors(path), storage.locked(path):
        manifest = load(directory)
        entries = manifest.info.get(key, [])
        if not isinstance(entries, list):
            raise ArtifactError(f"info[{key!r}] of {path} is no log", found=type(entries).__name__, expected="a list")
        fields = manifest.model_dump(exclude={"checksum"})
        fields["info"] = {**manifest.info, key: [*entries, entry]}
        storage.replace_file(path, encode(fields))
