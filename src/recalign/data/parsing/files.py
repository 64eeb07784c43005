"""Finding a dataset's files: by known names in a folder, or one given file and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recalign.errors import DataError


def find_all(path: Path, patterns: Sequence[str], what: str) -> list[Path]:
    """Files in the folder `path` that match the first of the globs that matches anything, sorted by name.

    Letter case is ignored. A `path` that is a file is returned as it is. `what` they are is for messages.

    Raises:
        DataError: `path` does not exist, or nothing matches.
    """
    if not path.exists():
        raise DataError(str(path), found="nothing there", expected=f"{what}, or the folder that holds it")
    if not path.is_dir():
        return [path]
    if files := _first_matches(path, patterns):
        return files
    raise DataError(str(path), found=_listing(path), expected=f"{what}: {' or '.join(patterns)}")


def find_one(path: Path, patterns: Sequence[str], what: str) -> Path:
    """As `find_all`, but exactly one file: several that match the same pattern are a DataError too."""
    files = find_all(path, patterns, what)
    if len(files) > 1:
        found = f"{len(files)} candidates: {', '.join(file.name for file in files[:4])}"
        raise DataError(str(path), found=found, expected=f"one {what}", hint="Give the file")
    return files[0]


def beside(path: Path, patterns: Sequence[str], what: str, *, above: bool = False) -> Path:
    """The companion of a file in its folder, or also in the one `above`; the first one by name. None is a DataError."""
    for folder in [path.parent, path.parent.parent][: 1 + above]:
        if files := _first_matches(folder, patterns, but=path):
            return files[0]
    raise DataError(
        f"{what} of {path}",
        found=_listing(path.parent),
        expected=" or ".join(patterns),
        hint="Put it beside the ratings, or name it",
    )


def _first_matches(folder: Path, patterns: Sequence[str], but: Path | None = None) -> list[Path]:
    for pattern in patterns:
        any_case = "".join(f"[{char.lower()}{char.upper()}]" if char.isalpha() else char for char in pattern)
        if files := sorted(file for file in folder.glob(any_case) if file.is_file() and file != but):
            return files
    return []


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"a folder with {shown}" if names else "an empty folder"
