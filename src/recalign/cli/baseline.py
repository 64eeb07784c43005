"""`recalign baseline`: train a sequential recommender to compare with."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from recalign.errors import ConfigError


def baseline(
    model: Annotated[
        str,
        typer.Argument(metavar="NAME", help="gru4rec, caser, sasrec, dros, gru-bert or dros-bert.", show_default=False),
    ],
    data: Annotated[Path, typer.Option("--data", help="Prepared data to train on.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    shots: Annotated[
        int | None, typer.Option(help="K: number of training samples. Default: all.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 0,
    loss: Annotated[str, typer.Option(help="On the sigmoid: mse or bce.")] = "mse",
    selection: Annotated[
        str, typer.Option(help="paper (best validation AUC), or last (no validation label is read).")
    ] = "paper",
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Local directory or hub id of the encoder of gru-bert and dros-bert.", show_default=False),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the encoder.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="cpu, auto or cuda; pays for gru-bert and dros-bert.")] = "cpu",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, e.g. weight_decays=[1e-5]; repeat."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a baseline made from other inputs.")] = False,
) -> None:
    """Train a sequential baseline: weight decay and epoch chosen on validation, as the papers do.

    Without a text encoder gru-bert and dros-bert cannot run. `recalign evaluate` takes the directory like a model's.
    """
    from recalign.baselines.artifact import train_baseline
    from recalign.cli.progress import TerminalReporter
    from recalign.data.samples import SampleSet

    given = {"model": model, "shots": shots, "seed": seed, "loss": loss, "selection": selection}
    config = _config(given, settings or [])
    samples = SampleSet.load(data)
    with TerminalReporter() as reporter:
        show = reporter.task(model, "weight decays")

        def progress(row: dict[str, Any]) -> None:
            done = config.weight_decays.index(row["weight_decay"])
            auc = "" if row["valid_auc"] is None else f"  validation AUC {row['valid_auc']:.4f}"
            show(done, len(config.weight_decays), f"epoch {row['epoch']}  loss {row['loss']:.4f}{auc}")

        manifest = train_baseline(
            samples,
            config,
            output,
            text_encoder=text_encoder,
            revision=revision,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    kept = manifest.info
    auc = "none" if kept["valid_auc"] is None else f"{kept['valid_auc']:.4f}"
    for line in (
        f"validation AUC {auc} after epoch {kept['epoch']} with weight decay {kept['weight_decay']:g}; "
        f"{kept['seconds']:.1f} s",
        f"baseline: {output}",
        f"next: recalign evaluate {output} --data {data}",
    ):
        typer.echo(line)


def _config(given: dict[str, Any], settings: list[str]) -> Any:
    """The configuration of a baseline."""
    from recalign.baselines.config import BASELINES, BaselineConfig
    from recalign.settings import parse_settings, validated

    if given["model"] not in BASELINES:
        near = difflib.get_close_matches(str(given["model"]), BASELINES, n=1)
        hint = f"Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"unknown baseline {given['model']!r}", expected=", ".join(BASELINES), hint=hint)
    return validated(BaselineConfig, parse_settings(settings, into=given), "options of recalign baseline")
