"""Names beside a target, and what happens to them after a crash.

Beside a target ``name`` there may be, for a while, ``.name.lock``, ``.name.staging-<pid>-<random>`` (being written) and
``.name.previous-<pid>-<random>`` (the artefact that is being replaced).
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from recalign.artifacts import storage
from recalign.errors import ArtifactError


def recover(directory: Path) -> None:
    """Put the previous artefact back where a process died between the two renames of an overwrite.

    Does nothing, and takes no lock, in every other case.

    Raises:
        ArtifactError: it cannot be put back (e.g. on a read-only file system); the message names where it is.
    """
    target = Path(os.path.realpath(directory))
    if os.path.lexists(target) or not siblings(target, "previous"):
        return
    try:
        with storage.locked(target):  # waits for a writer that is alive and about to finish
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
        storage.io.rename(max(previous, key=lambda path: path.stat().st_mtime), target)
        storage.fsync_path(target.parent)


def beside(target: Path, role: str) -> Path:
    """A new name beside `target` for the role ``staging`` or ``previous``."""
    return target.parent / f".{target.name}.{role}-{os.getpid()}-{secrets.token_hex(4)}"


def siblings(target: Path, role: str) -> list[Path]:
    """The directories beside `target` that have such a name, sorted by name."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.{role}-\d+-[0-9a-f]{{8}}")
    if not target.parent.is_dir():
        return []
    return sorted(path for path in target.parent.iterdir() if pattern.fullmatch(path.name))
