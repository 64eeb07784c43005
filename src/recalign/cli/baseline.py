"""`recalign baseline`: train a sequential recommender to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recalign.baselines.networks import BASELINES
from recalign.cli.next_step import tell_next
from recalign.terminal import say

if TYPE_CHECKING:
    from recalign.baselines.training import Round


def baseline(
    model: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(BASELINES.names()), show_default=False)],
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a baseline that is there.")] = False,
) -> None:
    """Train a sequential baseline: weight decay and epoch chosen on validation, as the papers do.

    Without a text encoder gru-bert and dros-bert cannot run. `recalign evaluate` takes the directory like a model's.
    """
    from recalign.baselines.artifact import train_baseline
    from recalign.baselines.config import BaselineConfig
    from recalign.cli.progress import TerminalReporter
    from recalign.data.samples import SampleSet
    from recalign.settings import parse_settings, validated

    given = {"model": model, "shots": shots, "seed": seed, "loss": loss, "selection": selection}
    config = validated(BaselineConfig, parse_settings(settings or [], into=given), "options of recalign baseline")
    samples = SampleSet.load(data)
    with TerminalReporter() as reporter:
        show = reporter.task(model, "weight decays")

        def progress(done: Round) -> None:
            facts = f"epoch {done.epoch}  loss {done.loss:.4f}"
            facts += "" if done.valid_auc is None else f"  validation AUC {done.valid_auc:.4f}"
            show(config.weight_decays.index(done.weight_decay), len(config.weight_decays), facts)

        manifest = train_baseline(
            samples,
            config,
            output,
            text_encoder=text_encoder,
            revision=revision,
            device=device,
            overwrite=overwrite,
            note=reporter.note,
            progress=progress,
        )
    kept = manifest.info
    auc = "none" if kept["valid_auc"] is None else f"{kept['valid_auc']:.4f}"
    say(
        f"validation AUC {auc} after epoch {kept['epoch']} with weight decay {kept['weight_decay']:g}; "
        f"{kept['seconds']:.1f} s\nbaseline: {output}"
    )
    tell_next(("evaluate", output, "--data", data))
