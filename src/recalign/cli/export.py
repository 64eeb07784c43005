"""`recalign export`: a tuned model for other programs, or prepared data for other libraries."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from recalign.terminal import printable, say


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|DATA", help="Directory of the tuned model, or of prepared data.", show_default=False
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Of a model: merged: a checkpoint that transformers loads. peft: the LoRA alone, for a base that "
            "others have. gguf: as merged, with the commands that make a GGUF file of it. Of data: llamafactory, trl: "
            "a prompt and its answer per sample. recbole: interactions and items.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Path or hub id: of a model the backbone, if it has moved since tuning; of data the language model "
            "that will be trained, whose tokens and chat template then decide the text.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Of data: prompt template; that of the data if not given.", show_default=False),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=16, help="Of data: longest prompt in tokens of --backbone.", show_default="that of tune"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """Write a tuned model or prepared data so that other programs can use it without recalign.

    A merged model is loaded again with plain transformers, and must give recalign's scores. Its README.md says how to
    ask it. What prepared data become is described in the documentation, page export.
    """
    from recalign.tuning.export_card import FORMS
    from recalign.tuning.export_data import DATA_FORMS, export_data

    if to in DATA_FORMS:
        export_data(
            source,
            to=to,
            output=output,
            backbone=backbone,
            template=template,
            max_length=max_length,
            overwrite=overwrite,
            note=say,
        )
        _tell_data(output, to)
        return
    _check_of_model(to, FORMS, DATA_FORMS, template, max_length)
    from recalign.tuning.export import export as export_model

    export_model(source, to=to, output=output, backbone=backbone, overwrite=overwrite, note=say)
    _tell_model(output, to)


def _check_of_model(
    to: str, forms: tuple[str, ...], data_forms: tuple[str, ...], template: str | None, max_length: int | None
) -> None:
    from recalign.errors import ConfigError

    if to not in forms:
        raise ConfigError(
            f"export to {to!r}", expected=f"{', '.join(forms)} of a model; {', '.join(data_forms)} of data"
        )
    for name, value in (("template", template), ("max-length", max_length)):
        if value is not None:
            raise ConfigError(f"option --{name} of an export to {to}", expected="none: a model keeps its own")


def _tell_model(output: Path, to: str) -> None:
    from recalign.tuning.export_card import CONVERSIONS, GGUF

    say(f"{to} model: {output}\nhow to load and ask it: {output / 'README.md'}")
    if to == GGUF:
        say("as GGUF files, with llama.cpp built in the folder LLAMA_CPP:")
        typer.echo("\n".join([f"cd {shlex.quote(str(output))}", *CONVERSIONS[to]]))


def _tell_data(output: Path, to: str) -> None:
    from recalign.artifacts import read_manifest
    from recalign.data.schema import SPLITS

    info = read_manifest(output, verify=False).info
    counts = [f"{split} {info['rows'].get(split, 0):,}" for split in SPLITS]
    say(f"{to} data: {output}\nrows: {', '.join(counts)}")
    if "otherwise" in info:
        say(f"rows of which {to} makes other tokens than recalign: {sum(info['otherwise'].values()):,}")
    say(printable(f"licence of the data: {info['licence']}"))
