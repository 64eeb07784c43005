"""`recalign download`: fetch a dataset that has a public address, or a language model, check it, unpack it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recalign.cli.next_step import tell_next
from recalign.errors import ConfigError
from recalign.terminal import say

if TYPE_CHECKING:
    from recalign.data.transfer import Progress


def download(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of an archive, e.g. movielens-1m, or smollm2, a language model; an unknown name lists them all.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="New folder for the unpacked files. A language model goes into recalign's cache unless you give one.",
            show_default=False,
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="SHA-256 of what is fetched; needed where none is pinned.", show_default=False),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Another address of the same file.", show_default=False)
    ] = None,
) -> None:
    """Download a dataset or a language model, check its SHA-256 and unpack it.

    An interrupted download continues with the same command. The licence is printed first: nothing is bundled with
    recalign, and the terms are between you and the owners.
    """
    from recalign.models.released import RELEASES

    if name in RELEASES:
        _download_model(name, output, sha256, url)
    else:
        _download_dataset(name, output, sha256, url, (*RELEASES,))


def _download_dataset(
    name: str, output: Path | None, sha256: str | None, url: str | None, models: tuple[str, ...]
) -> None:
    from recalign.data.download import download as fetch_dataset
    from recalign.data.download import find_download

    _, reader, record = find_download(name, others=models)
    if output is None:
        raise ConfigError(f"dataset {name}", found="no folder for it", expected="--output DIR")
    say(f"Terms of use: {record.licence}", err=True)
    with _progress_bar(name) as progress:
        folder = fetch_dataset(name, output, sha256, url=url, progress=progress, note=lambda text: say(text, err=True))
    sys.stdout.write(f"{folder}\n")
    tell_next(("prepare", reader, "--input", folder, "--output", f"data/{name}"), err=True)


def _download_model(name: str, output: Path | None, sha256: str | None, url: str | None) -> None:
    from recalign.models.released import RELEASES, download_release

    release = RELEASES[name]
    say(f"Terms of use: {release.licence}\nFetching {release.requirement}, then importing it", err=True)
    with _progress_bar(name) if url else nullcontext() as progress:
        directory = download_release(name, output, sha256, url=url, progress=progress)
    sys.stdout.write(f"{directory}\n")
    tell_next(("tune", "--backbone", output or name, "--data", "DATA", "--output", f"runs/{name}"), err=True)


@contextmanager
def _progress_bar(name: str) -> Iterator[Progress | None]:
    """A bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, TimeRemainingColumn(compact=True), console=console) as bar:
        task = bar.add_task(name, total=None)
        yield lambda received, total: bar.update(task, completed=received, total=total)
