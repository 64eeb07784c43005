"""How artefacts reach the disk: the `io` seam, locks, the atomic write of one file, and recovery after a crash.

Everything that can fail or be interrupted goes through the module's `io` object, so a test can replace one of its
methods and inject a full disk, another device or a kill at the n-th call.

Beside a target ``name`` there may be, for a while, ``.name.lock``, ``.name.staging-<pid>-<random>`` (being written) and
``.name.previous-<pid>-<random>`` (the artefact that is being replaced).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recalign.errors import ArtifactError

_LOCK_SECONDS = 60.0
_POLL_SECONDS = 0.02
_FULL_HINT = "Nothing was published: free some space or choose an output on another device."
_MOUNT_HINT = "Nothing was published: choose an output directory that is not a mount point."
_HINT = "Check the path and permissions."
_FAILURES: dict[int | None, tuple[str, str]] = {
    errno.ENOSPC: ("no space left on the device", _FULL_HINT),
    errno.EDQUOT: ("the disk quota is used up", _FULL_HINT),
    errno.EROFS: ("a read-only file system", _HINT),
    errno.EXDEV: ("a path on another device, where a rename is impossible", _MOUNT_HINT),
}


class Storage:
    """Operating-system calls. Tests replace them on `io` to inject faults."""

    mkdir = staticmethod(os.mkdir)
    fsync = staticmethod(os.fsync)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    rmtree = staticmethod(shutil.rmtree)

    def open(self, path: Path, flags: int) -> int:
        """Open `path` and return the descriptor (mode by umask)."""
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


io = Storage()


def explain(error: BaseException, path: Path) -> ArtifactError:
    """Turn a storage failure into one clear line that names `path`."""
    number = getattr(error, "errno", errno.ENOSPC if is_full(error) else None)
    cause = getattr(error, "strerror", None) or type(error).__name__
    found, hint = _FAILURES.get(number, (cause, _HINT))
    return ArtifactError(f"cannot write {path}", found=found, hint=hint)


def is_full(error: BaseException) -> bool:
    """Whether `error` says that the disk or the quota is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # Writers in native code (safetensors, parquet) say it in words only.
    return "No space left on device" in str(error) or "os error 28" in str(error)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Report any OSError of the block as an ArtifactError that names `path`."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def fsync_path(path: Path) -> None:
    """Flush the file or directory at `path`."""
    descriptor = io.open(path, os.O_RDONLY)
    try:
        io.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot flush a directory and say EINVAL; then the rename itself is all there is.
        if not (error.errno == errno.EINVAL and path.is_dir()):
            raise
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file if it is free. The kernel gives it back when its process dies."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, wait: float | None = None, refusal: ArtifactError | None = None) -> Iterator[None]:
    """Hold the lock of `path`: the file ``.<name>.lock`` beside it, gone again afterwards.

    Raises:
        ArtifactError: another process kept the lock for `wait` seconds, a minute by default. `refusal` where given.
    """
    lock = path.parent / f".{path.name}.lock"
    deadline = time.monotonic() + (_LOCK_SECONDS if wait is None else wait)
    while True:
        descriptor = io.open(lock, os.O_RDWR | os.O_CREAT)
        # A holder removes the file before it lets go, so a lock on a file that is no longer at its path counts for
        # nothing: the next comer would lock a new file.
        if try_lock(descriptor) and _is_at(descriptor, lock):
            break
        os.close(descriptor)
        if time.monotonic() >= deadline:
            found, hint = f"the lock {lock} held", "Try again when it is free."
            raise refusal or ArtifactError(f"{path} is in use", found=found, hint=hint)
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        try:
            io.unlink(lock)
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def write_file_atomic(path: Path, data: bytes) -> None:
    """Write `path` so that after a crash it holds its old content or all of `data`; missing parents are created.

    Raises:
        ArtifactError: the disk is full, the folder is not writable, … (the old content is intact).
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            replace_file(path, data)


def replace_file(path: Path, data: bytes) -> None:
    """The atomic write for a caller that holds the lock of `path` (so one temporary name suffices, and an orphan of a
    killed process is overwritten by the next write).
    """
    temporary = path.parent / f".{path.name}.tmp"
    descriptor = io.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
    try:
        try:
            io.write(descriptor, data)
            io.fsync(descriptor)
        finally:
            os.close(descriptor)
        io.rename(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def recover(directory: Path) -> None:
    """Put the previous artefact back where a process died between the two renames of an overwrite; else do nothing.

    Raises:
        ArtifactError: it cannot be put back (e.g. on a read-only file system); the message names where it is.
    """
    target = Path(os.path.realpath(directory))
    if os.path.lexists(target) or not siblings(target, "previous"):
        return
    try:
        with locked(target):  # waits for a writer that is alive and about to finish
            restore(target)
    except OSError as error:
        raise ArtifactError(
            f"{target} was being replaced when its writer died",
            found=f"its previous state in {siblings(target, 'previous')[-1]}, which cannot be renamed",
            hint="Rename it back by hand.",
        ) from error


def restore(target: Path) -> None:
    """The same for a caller that holds the lock of `target`."""
    previous = siblings(target, "previous")
    if previous and not os.path.lexists(target):
        io.rename(max(previous, key=lambda path: path.stat().st_mtime), target)
        fsync_path(target.parent)


def beside(target: Path, role: str) -> Path:
    """A new name beside `target` for the role ``staging`` or ``previous``."""
    return target.parent / f".{target.name}.{role}-{os.getpid()}-{secrets.token_hex(4)}"


def siblings(target: Path, role: str) -> list[Path]:
    """The directories beside `target` that have such a name, sorted by name."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.{role}-\d+-[0-9a-f]{{8}}")
    if not target.parent.is_dir():
        return []
    return sorted(path for path in target.parent.iterdir() if pattern.fullmatch(path.name))
