"""`recalign import`: a language model from another program's file, as a checkpoint directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recalign.cli.next_step import tell_next


def import_model(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="gguf: llama.cpp's format.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.", show_default=False)],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write.", show_default=False)],
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="What the file's SHA-256 must be.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an import that is there.")] = False,
) -> None:
    """Import a language model, so that --backbone takes its directory.

    Quantised weights are unpacked to float32. What such a file does not say is not guessed: a tokenizer that recalign
    does not know is refused.
    """
    from recalign.errors import ConfigError

    if form != "gguf":
        raise ConfigError(f"import of {form!r}", expected="gguf")
    from recalign.models.gguf_import import import_gguf

    imported = import_gguf(
        file, directory, sha256=sha256, overwrite=overwrite, note=lambda text: typer.echo(text, err=True)
    )
    typer.echo(f"{imported}")
    tell_next(("tune", "--backbone", imported, "--data", "DATA", "--output", "RUN"), err=True)
