"""Finding a dataset's files: by known names in a folder, or one given file and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recalign.errors import DataError


def find_all(path: Path, patterns: Sequence[str], what: str) -> list[Path]:
    """Files in the folder `path` that match the first pattern that matches anything, sorted by name.

    Letter case is ignored. A `path` that is a file is returned as it is.

    Args:
        path: Folder or file.
        patterns: Globs relative to the folder, most telling first.
        what: What is looked for, for the message.

    Raises:
        DataError: `path` does not exist, or nothing matches.
    """
    if not path.exists():
        raise DataError(str(path), found="nothing there", expected=f"{what}, or the folder that holds it")
    if not path.is_dir():
        return [path]
    for pattern in patterns:
        files = sorted(file for file in path.glob(_any_case(pattern)) if file.is_file())
        if files:
            return files
    raise DataError(str(path), found=_listing(path), expected=f"{what}: {' or '.join(patterns)}")


def find_one(path: Path, patterns: Sequence[str], what: str) -> Path:
    """As `find_all`, but exactly one file.

    Raises:
        DataError: none, or several that match the same pattern.
    """
    files = find_all(path, patterns, what)
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:4])
        raise DataError(
            str(path), found=f"{len(files)} candidates: {names}", expected=f"one {what}", hint="Give the file"
        )
    return files[0]


def beside(path: Path, patterns: Sequence[str], what: str, *, above: bool = False) -> Path:
    """The companion of a file, in the same folder.

    Args:
        path: The file.
        patterns: Globs, most telling first.
        what: What is looked for, for the message.
        above: Look in the folder above as well.

    Raises:
        DataError: there is none.
    """
    for folder in [path.parent, path.parent.parent][: 1 + above]:
        for pattern in patterns:
            files = sorted(file for file in folder.glob(_any_case(pattern)) if file.is_file() and file != path)
            if files:
                return files[0]
    raise DataError(
        f"{what} of {path}",
        found=_listing(path.parent),
        expected=" or ".join(patterns),
        hint="Put it beside the ratings, or name it",
    )


def _any_case(pattern: str) -> str:
    return "".join(f"[{char.lower()}{char.upper()}]" if char.isalpha() else char for char in pattern)


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"a folder with {shown}" if names else "an empty folder"
