"""Finding a dataset's files: by known names in a folder, one given file and its neighbours, or numbered parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recalign.data.parsing.containers import is_stream
from recalign.errors import DataError, did_you_mean_path


def find_all(path: Path, patterns: Sequence[str], what: str) -> list[Path]:
    """Files in the folder `path` that match the first of the globs that matches anything, sorted by name.

    Letter case is ignored. A `path` that is a file is returned as it is. `what` they are is for messages.

    Raises:
        DataError: `path` does not exist or is a pipe, or nothing matches.
    """
    if not path.exists():
        expected = f"{what}, or the folder that holds it"
        raise DataError(str(path), found="nothing there", expected=expected, hint=did_you_mean_path(path))
    refuse_stream(path)
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


def refuse_stream(path: Path) -> None:
    """A DataError for a pipe: it could be read only once, and a reader looks at its files more than once."""
    if path.exists() and is_stream(path):
        hint = "Save it to a file first; dataset 'table' reads pipes"
        raise DataError(str(path), found="a pipe or device", expected="a file or folder", hint=hint)


def find_table(folder: Path, stems: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """The file, or the folder of parts, in `folder` that is called by one of the stems and suffixes, in their order.

    Letter case is ignored, and each may also end in ``.gz`` or ``.zip``. None where there is none.
    """
    wanted = [f"{stem}.{suffix}{packed}" for stem in stems for suffix in suffixes for packed in ("", ".gz", ".zip")]
    entries = {entry.name.lower(): entry for entry in sorted(folder.iterdir())}
    return next((entries[name] for name in wanted if name in entries), None)


def part_files(path: Path, expected: str, *, but: Path | None = None) -> list[Path]:
    """The part files of a table in order: `path` itself, or the numbered files in the folder `path`.

    Names that begin with ``.`` or ``_`` and checksums (``.crc``) are no parts, as Spark and Hive have it. Parts are
    ordered by name, the numbers in it by value.

    Args:
        path: A file or folder.
        expected: What should be there, for messages.
        but: A file in the folder that is no part.

    Raises:
        DataError: the folder holds no file, folders, or several files of which one has no number in its name.
    """
    if not path.is_dir():
        return [path]
    entries = [entry for entry in path.iterdir() if not entry.name.startswith((".", "_")) and entry != but]
    parts = [entry for entry in entries if entry.suffix != ".crc"]
    unnumbered = [part.name for part in parts if not re.search(r"\d", part.name)]
    folders = [part.name for part in parts if not part.is_file()]
    if not parts or folders or (len(parts) > 1 and unnumbered):
        hint = "Give one file, or one folder of part files"
        if any("=" in name for name in folders):
            hint = f"Names of folders are not read as columns: write those into the files, or give {path / folders[0]}"
        raise DataError(str(path), found=_listing(path), expected=f"{expected}, or numbered part files", hint=hint)
    return sorted(parts, key=_by_number)


def _by_number(part: Path) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"(\d+)", part.name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], part.name


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
