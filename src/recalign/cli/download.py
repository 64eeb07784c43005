"""`recalign download`: fetch a dataset that has a public address, check it, unpack it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recalign.data.transfer import Progress


def download(
    dataset: Annotated[
        str,
        typer.Argument(
            help="Name of an archive, e.g. movielens-1m; an unknown name lists them all.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="New folder for the unpacked files.", show_default=False)],
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="SHA-256 of the archive; needed where none is pinned.", show_default=False),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Another address of the same archive.", show_default=False)
    ] = None,
) -> None:
    """Download a dataset, check its SHA-256 and unpack it. An interrupted download continues with the same command.

    The licence is printed first: nothing is bundled with recalign, and the data's terms are between you and its owners.
    """
    from recalign.data.download import download as fetch_dataset
    from recalign.data.download import find_download

    _, reader, record = find_download(dataset)
    sys.stderr.write(f"Terms of use: {record.licence}\n")
    with _progress_bar(dataset) as progress:
        folder = fetch_dataset(dataset, output, sha256, url=url, progress=progress)
    sys.stdout.write(f"{folder}\n")
    sys.stderr.write(f"Next: recalign prepare {reader} --input {folder} --output DIR\n")


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
