"""Datasets with a public address: fetched, checked against a SHA-256, unpacked, and only then put in place.

No dataset is bundled, and no hash is invented: one is pinned only where it was computed from the real file, otherwise
the user names it. What an altered or cut download brings is never unpacked, and nothing half-unpacked is ever seen.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from recalign.artifacts import already, hash_file
from recalign.artifacts.storage import locked, storage_errors
from recalign.data.archives import Limits, unpack
from recalign.data.reader import Archive, Reader
from recalign.data.readers import READERS
from recalign.data.transfer import TIMEOUT_SECONDS, Progress, check_url, fetch
from recalign.errors import ConfigError, DataError

MARK: Final = ".recalign-download"  # in the folder: the SHA-256 of the archive that it was unpacked from


def find_download(name: str, *, others: Sequence[str] = ()) -> tuple[Archive, str, Reader]:
    """The archive of that name, and the name and record of the dataset that reads it.

    Raises:
        ConfigError: No dataset has one; the message lists those there are, and `others` that can be fetched.
    """
    known = {
        archive.name: (archive, dataset, reader) for dataset, reader in READERS.all() for archive in reader.archives
    }
    if name not in known:
        hint = "Other datasets have no public address: bring your own copy"
        expected = ", ".join([*known, *others])
        raise ConfigError(f"dataset {name!r}", found="no address for it", expected=expected, hint=hint)
    return known[name]


def download(
    name: str,
    output: Path,
    sha256: str | None = None,
    *,
    url: str | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda text: None,
    timeout: float = TIMEOUT_SECONDS,
    limits: Limits | None = None,
) -> Path:
    """Fetch, check and unpack a dataset.

    An interrupted download continues with the same call. The archive is kept beside `output` only until it is unpacked.

    Args:
        name: Of an archive that a dataset's record names, such as "movielens-1m".
        output: Folder that appears with the unpacked files; it must not exist, or be empty.
        sha256: Hash of the archive, 64 hex digits; needed where none is pinned. It may not contradict a pinned one.
        url: Another address of the same archive, e.g. a mirror.
        progress: See `transfer.Progress`.
        note: Told, in one line, where `output` has the files of this very archive already.
        timeout: Seconds without a byte after which a connection is given up.
        limits: How much may come out of the archive.

    Returns:
        `output`.

    Raises:
        ConfigError: unknown dataset, no or a malformed hash, no address, an address that is not http or https.
        DataError: `output` is in use, the download fails, its hash is another one, or the archive is refused.
        ArtifactError: the disk is full or not writable.
    """
    archive = find_download(name)[0]
    expected = _expected_hash(archive, sha256)
    address = url or archive.url
    if address is None:
        raise ConfigError(f"dataset {name!r}", found="no public address any more", expected="--url of a copy")
    check_url(address)
    output = output.absolute()
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        mark = output / MARK
        if mark.is_file() and mark.read_text(encoding="ascii") == expected:
            note(already("downloaded", output))
            return output
        _refuse_used(output)
        # The hash in the name: the rest of one archive never continues another one.
        part = output.parent / f".{output.name}.{expected[:16]}.part"
        _fetch_checked(address, part, expected, progress, timeout)
        _publish(part, output, expected, limits)
    return output


def _expected_hash(archive: Archive, given: str | None) -> str:
    if given is not None:
        given = given.strip().lower().removeprefix("sha256:")
        if not re.fullmatch("[0-9a-f]{64}", given):
            raise ConfigError("option --sha256", found=given[:80], expected="64 hexadecimal digits")
    if archive.sha256 is None and given is None:
        raise ConfigError(
            f"dataset {archive.name!r}",
            found="no pinned SHA-256",
            expected="--sha256 HEX of the archive",
            hint="Take it from a source you trust, or from a copy you have checked: sha256sum FILE",
        )
    if archive.sha256 and given and archive.sha256 != given:
        raise ConfigError("option --sha256", found=given, expected=f"the pinned {archive.sha256} of {archive.name}")
    return given or archive.sha256 or ""


def _refuse_used(output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        found = "a file or link"
    elif output.is_dir() and any(output.iterdir()):
        found = "a folder with files"
    else:
        return
    raise DataError(str(output), found=found, expected="a new folder", hint="Choose another --output")


def _fetch_checked(url: str, archive: Path, expected: str, progress: Progress | None, timeout: float) -> None:
    """Fetch until the hash is right; what was pieced together wrongly is fetched once more in one piece."""
    for last in (False, True):
        pieced = fetch(url, archive, progress=progress, timeout=timeout)
        with storage_errors(archive):
            actual = hash_file(archive).sha256
            if actual == expected:
                return
            archive.unlink()
        if last or not pieced:
            raise DataError(
                f"archive from {url}",
                found=f"SHA-256 {actual}",
                expected=expected,
                hint="It was deleted and nothing was unpacked: the file was altered, or the hash is of another version",
            )


def _publish(archive: Path, output: Path, expected: str, limits: Limits | None) -> None:
    staging = output.parent / f".{output.name}.unpacking"
    with storage_errors(staging):
        # A killed process may have left one; the lock says that nobody else is at work in it.
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            unpack(archive, staging, limits)
            (staging / MARK).write_text(expected, encoding="ascii")
            staging.rename(output)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        archive.unlink()
