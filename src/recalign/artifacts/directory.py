"""Writing an artefact: stage beside the target, hash, manifest last, one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recalign import __version__
from recalign.artifacts import storage
from recalign.artifacts.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    FileRecord,
    Json,
    content_fingerprint,
    encode,
    hash_file,
    is_inside,
    load,
    plain,
)
from recalign.errors import ArtifactError

# Locked by the writer for as long as it lives, which tells a staging directory in use from an orphan; the kernel drops
# the lock with the process, whatever killed it. (A process id would not do: they are reused, and differ per container.)
_OWNER = ".owner"


@contextmanager
def write_directory(
    target: Path,
    kind: str,
    *,
    config: Any,
    parents: Mapping[str, str] | None = None,
    info: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Give the block a staging directory to fill; when it ends well, publish that as the artefact `target`.

    Args:
        target: Where the artefact appears; its parents are created. It must not exist, or be an empty directory,
            or (with `overwrite`) an artefact of the same kind.
        kind: The manifest's kind.
        config: What produced it: a mapping or pydantic model that JSON has a form for.
        parents: Name of each input artefact → its fingerprint.
        info: Free facts; read when the block ends, so the block may still fill a dict it passed.
        overwrite: Replace an existing artefact. A crash at any moment leaves the old or the new one.

    Raises:
        ArtifactError: `target` exists; the disk is full, read-only or another device; a staged file is no plain file.
            Any exception of the block removes the staging directory and leaves `target` as it was.
    """
    target = Path(os.path.realpath(target))
    settings = plain(config)
    staging, owner = _stage(target, kind, overwrite)
    try:
        yield staging
        with storage.storage_errors(target):
            _seal(staging, kind, settings, dict(parents or {}), dict(info or {}))
            _publish(staging, target, kind, overwrite)
    except BaseException as error:
        # What cannot be removed now is an orphan that the next write sweeps; the error at hand matters more.
        shutil.rmtree(staging, ignore_errors=True)
        if storage.is_full(error):
            raise storage.explain(error, target) from error
        raise
    finally:
        os.close(owner)


def _stage(target: Path, kind: str, overwrite: bool) -> tuple[Path, int]:
    """Create the staging directory; return it and the descriptor that holds its owner's lock."""
    with storage.storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with storage.locked(target):
            storage.restore(target)
            _sweep(target)
            check_free(target, kind, overwrite)
            staging = storage.beside(target, "staging")
            storage.io.mkdir(staging)
            try:
                owner = storage.io.open(staging / _OWNER, os.O_RDWR | os.O_CREAT)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            storage.try_lock(owner)
    return staging, owner


def _seal(staging: Path, kind: str, config: Any, parents: dict[str, str], info: Json) -> None:
    """Flush and hash everything staged, then write the manifest."""
    files: dict[str, FileRecord] = {}
    folders = [staging]
    for path in sorted(staging.rglob("*")):
        name = path.relative_to(staging).as_posix()
        if path.is_dir() and not path.is_symlink():
            folders.append(path)
        elif name != _OWNER:
            if path.is_symlink() or not path.is_file() or not is_inside(name):
                found = "a link or a reserved name"
                raise ArtifactError(f"cannot publish {name!r}", found=found, expected="a plain file")
            storage.fsync_path(path)
            files[name] = hash_file(path)
    fields = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "recalign_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parents": parents,
        "config": config,
        "info": info,
        "files": files,
    }
    for folder in reversed(folders):
        storage.fsync_path(folder)
    storage.replace_file(staging / MANIFEST_NAME, encode({**fields, "fingerprint": content_fingerprint(fields)}))


def _publish(staging: Path, target: Path, kind: str, overwrite: bool) -> None:
    """Give the sealed directory its name. In an overwrite there is a moment with no target: see `storage.recover`."""
    with storage.locked(target):
        check_free(target, kind, overwrite)
        storage.io.unlink(staging / _OWNER)
        previous = None
        if (target / MANIFEST_NAME).exists():
            previous = storage.beside(target, "previous")
            storage.io.rename(target, previous)
        try:
            storage.io.rename(staging, target)
            storage.fsync_path(target.parent)
        except BaseException:
            if not staging.exists():
                storage.io.rename(target, staging)
            if previous is not None:
                storage.io.rename(previous, target)
            raise
        if previous is None:
            return
        try:
            storage.io.rmtree(previous)
        except OSError as error:
            found = f"{previous}, which cannot be removed ({error.strerror})"
            raise ArtifactError(f"{target} is published, but its previous state is still there", found=found) from error


def _sweep(target: Path) -> None:
    """Remove what dead writers of `target` left. The caller holds the lock, so no live one is replacing anything."""
    orphans = [path for path in storage.siblings(target, "staging") if _is_orphan(path)]
    for path in (*storage.siblings(target, "previous"), *orphans):
        storage.io.rmtree(path)


def _is_orphan(staging: Path) -> bool:
    try:
        descriptor = storage.io.open(staging / _OWNER, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        return storage.try_lock(descriptor)
    finally:
        os.close(descriptor)


def check_free(target: Path, kind: str, overwrite: bool, option: str = "--overwrite") -> None:
    """Refuse a target that `write_directory` would refuse, for a caller who has long work to do first.

    `option` is what the caller's user says to replace what is there.

    Raises:
        ArtifactError: something is there that is not to be replaced.
    """
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise ArtifactError(f"{target} exists already", hint=f"Choose another output or pass {option} to replace it.")
    try:
        kind_there = load(target).kind
    except ArtifactError as error:
        hint = f"Only an intact artefact is overwritten; move or remove it yourself ({error})."
        raise ArtifactError(f"will not overwrite {target}", hint=hint) from error
    if kind_there != kind:
        expected = f"an artefact of kind {kind!r}"
        raise ArtifactError(f"will not overwrite {target}", found=repr(kind_there), expected=expected)
