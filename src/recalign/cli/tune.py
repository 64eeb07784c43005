"""`recalign tune`: one stage from options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recalign.errors import ConfigError


def tune(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the model.")] = Path("runs/model"),
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Prepared data to tune on; repeat for several domains.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="'nano', a local checkpoint directory, or a hub id.")] = "nano",
    revision: Annotated[str | None, typer.Option(help="Hub revision of the backbone.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="4bit or 8bit (needs a GPU and recalign[quant]).")] = None,
    parent: Annotated[Path | None, typer.Option(help="Model to continue from.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Target data, for --selection paper.")] = None,
    kind: Annotated[str, typer.Option(help="rec (rec-tuning), instruction, or cot (curriculum).")] = "rec",
    cot: Annotated[Path | None, typer.Option(help="What `recalign teach` wrote, for --kind cot.")] = None,
    curriculum: Annotated[
        str, typer.Option(help="ordered, mixed or stage1-only to stage3-only, for --kind cot.")
    ] = "ordered",
    mode: Annotated[str | None, typer.Option(help="lora, or full (default for nano without a parent).")] = None,
    template: Annotated[str | None, typer.Option(help="Prompt template; default: the one the data names.")] = None,
    shots: Annotated[int | None, typer.Option(help="K: number of training samples.")] = None,
    selection: Annotated[str, typer.Option(help="last, strict-k, source or paper.")] = "last",
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Any other setting of the stage, e.g. optim.lr=3e-4."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard checkpoints and models made from other inputs.")
    ] = False,
) -> None:
    """Tune a language model on prepared samples."""
    from recalign.cli.progress import TerminalReporter
    from recalign.settings import parse_settings

    if not data:
        raise ConfigError("recalign tune", found="no --data", hint="Run: recalign tune --data DIR --output RUN")
    options: dict[str, Any] = {"kind": kind, "shots": shots, "selection": selection, "seed": seed}
    if kind == "cot":
        options["curriculum"] = curriculum
    options["mode"] = mode or ("full" if backbone == "nano" and parent is None else "lora")
    if template:
        options["template"] = template
    options = parse_settings(settings or [], into=options)
    names = {"name": backbone, "revision": revision, "dtype": dtype, "quantization": quantization}
    with TerminalReporter() as reporter:
        _tune_one(options, names, data, parent, validation, cot, output, restart, reporter)
        reporter.note(f"model: {output}")
        reporter.note(f"next: recalign evaluate {output} --data {data[-1]}")


def _tune_one(
    options: dict[str, Any],
    names: dict[str, Any],
    data: list[Path],
    parent: Path | None,
    validation: Path | None,
    cot: Path | None,
    output: Path,
    restart: bool,
    reporter: Any,
) -> None:
    from recalign.data.samples import SampleSet
    from recalign.experiment.backbones import resolve_backbone
    from recalign.experiment.progress import of_steps
    from recalign.models.config import BackboneConfig
    from recalign.models.nano_config import NanoConfig
    from recalign.settings import validated
    from recalign.tuning.config import StageConfig
    from recalign.tuning.model_artifact import backbone_of
    from recalign.tuning.provenance import check_data
    from recalign.tuning.stage import StageInputs, is_done, tune_stage

    sets = [SampleSet.load(path) for path in data]
    options.setdefault("template", sets[-1].template)
    config = validated(StageConfig, options, "options of recalign tune")
    asked = validated(BackboneConfig, names, "options of recalign tune")
    check_data(config, sets)
    if parent is not None and names["name"] == "nano":
        resolved = backbone_of(parent)
    else:
        resolved = resolve_backbone(asked, NanoConfig(), sets, progress=of_steps(reporter.task("pretraining nano")))
    target = SampleSet.load(validation) if validation else (sets[-1] if config.selection == "paper" else None)
    inputs = StageInputs(config=config, data=sets, backbone=resolved, parent=parent, validation=target, cot=cot)
    if is_done(inputs, output):
        reporter.note("already tuned from these inputs")
    tune_stage(inputs, output, restart=restart, progress=of_steps(reporter.task(output.name)))
