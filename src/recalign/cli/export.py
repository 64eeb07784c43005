"""`recalign export`: a tuned model as a directory that transformers, PEFT or llama.cpp's converter load."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Directory of the tuned model.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="merged: a checkpoint that transformers loads. peft: the LoRA alone, for a base that others have. "
            "gguf: as merged, with the commands that make a GGUF file of it.",
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
    from recalign.tuning.export_card import CONVERSIONS, GGUF

    export_model(run, to=to, output=output, backbone=backbone, overwrite=overwrite)
    typer.echo(f"{to} model: {output}\nhow to load and ask it: {output / 'README.md'}")
    if to == GGUF:
        typer.echo("as GGUF files, with llama.cpp built in the folder LLAMA_CPP:")
        typer.echo("\n".join([f"cd {shlex.quote(str(output))}", *CONVERSIONS[to]]))
