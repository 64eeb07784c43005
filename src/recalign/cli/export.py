"""`recalign export`: a tuned model as a directory that transformers or PEFT load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Directory of the tuned model.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="merged: a checkpoint that transformers loads. peft: the LoRA alone, for a base that others have.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    backbone: Annotated[
        str | None,
        typer.Option(help="Path or hub id of the backbone, if it has moved since tuning.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """Write a tuned model so that others can load it without recalign.

    A merged model is loaded again with plain transformers, and must give recalign's scores. Its README.md says how to
    ask it.
    """
    from recalign.tuning.export import export as export_model

    export_model(run, to=to, output=output, backbone=backbone, overwrite=overwrite)
    typer.echo(f"{to} model: {output}\nhow to load and ask it: {output / 'README.md'}")
