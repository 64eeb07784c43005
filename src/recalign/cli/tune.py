"""`recalign tune`: one stage from options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recalign.cli.client_options import Tracker
from recalign.cli.next_step import tell_next


def tune(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the model.")] = Path("runs/model"),
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Prepared data to tune on; repeat for several domains.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="'nano', 'smollm2', a checkpoint directory, or a hub id.")] = "nano",
    revision: Annotated[str | None, typer.Option(help="Hub revision of the backbone.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="4bit or 8bit: needs a GPU and the extra 'quant'.")] = None,
    parent: Annotated[Path | None, typer.Option(help="Model to continue from.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Target data, for --selection paper.")] = None,
    kind: Annotated[str, typer.Option(help="rec (rec-tuning), instruction, or cot (curriculum).")] = "rec",
    cot: Annotated[Path | None, typer.Option(help="What `recalign teach` wrote, for --kind cot.")] = None,
    curriculum: Annotated[
        str | None, typer.Option(help="ordered (default), mixed or stage1-only to stage3-only, for --kind cot.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="lora, or full (default for nano without a parent).")] = None,
    template: Annotated[str | None, typer.Option(help="Prompt template; default: the one the data names.")] = None,
    shots: Annotated[int | None, typer.Option(help="K: number of training samples, for --kind rec.")] = None,
    selection: Annotated[
        str | None, typer.Option(help="last (default), strict-k, k-fold, source or paper, for --kind rec.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 0,
    merge: Annotated[
        int | None, typer.Option(help="Train so many times with other draws and average the weights (mode full).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Any key that `recalign config KIND` lists: optim.lr=3e-4."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard checkpoints, and the model that is there.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="Processes of this machine that tune together; several machines: torchrun.")
    ] = None,
    shard: Annotated[
        bool, typer.Option("--shard", help="Divide the model among the processes, where one device does not hold it.")
    ] = False,
    tracker: Tracker = None,
) -> None:
    """Tune a language model on prepared samples. Several stages are run by `recalign run`."""
    from recalign.artifacts import read_manifest
    from recalign.cli.progress import TerminalReporter
    from recalign.errors import ConfigError, Interrupted, ProcessError

    if not data:
        raise ConfigError("recalign tune", found="no --data", hint="Run: recalign tune --data DIR --output RUN")
    for directory in data:
        read_manifest(directory, kind="samples", verify=False)  # a wrong path costs no import of torch
    from recalign.experiment.progress import Reporter
    from recalign.experiment.tracking import tracked
    from recalign.experiment.tune import tune as tune_one
    from recalign.settings import parse_settings
    from recalign.tuning.joining import launched

    options = {"kind": kind, "curriculum": curriculum, "mode": mode, "template": template, "shots": shots}
    options |= {"selection": selection, "seed": seed, "merge": merge}
    stage = parse_settings(settings or [], into={key: value for key, value in options.items() if value is not None})
    names = {"name": backbone, "revision": revision, "dtype": dtype, "quantization": quantization}
    place = launched()
    speaks = place is None or place.rank == 0  # one of several processes for all
    feeds, folder = (tracker if speaks else None), output.parent / "tracking"
    with TerminalReporter() as terminal, tracked(terminal if speaks else Reporter(), feeds, "tune", folder) as reporter:
        try:
            tune_one(
                data,
                output,
                backbone=names,
                parent=parent,
                validation=validation,
                cot=cot,
                settings=stage,
                restart=restart,
                processes=processes,
                shard=shard,
                reporter=reporter,
            )
        except (Interrupted, ProcessError) as error:
            if speaks:
                raise
            raise typer.Exit(error.exit_code) from error
        reporter.note(f"model: {output}")
    if speaks:
        tell_next(("evaluate", output, "--data", data[-1]), err=True)
