"""`recalign config`: every key of a configuration, from the classes that declare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

# Imported when they are asked for: none of these modules imports torch.
CONFIGURATIONS: Final = {
    "instruction": "recalign.tuning.config:InstructionStage",
    "cot": "recalign.tuning.config:CotStage",
    "rec": "recalign.tuning.config:RecStage",
    "backbone": "recalign.models.config:BackboneConfig",
    "nano": "recalign.models.config:NanoConfig",
    "prepare": "recalign.experiment.prepare_config:PrepareConfig",
    "teach": "recalign.cot.config:TeachConfig",
    "baseline": "recalign.baselines.config:BaselineConfig",
    "in-context": "recalign.baselines.config:InContextConfig",
}


def config(stage: Annotated[str, typer.Argument(metavar="STAGE", help=", ".join(CONFIGURATIONS))]) -> None:
    """Print every key of a configuration, for --set and TOML files, with its default and meaning."""
    import importlib

    from recalign.errors import ConfigError
    from recalign.settings import describe_keys

    if stage not in CONFIGURATIONS:
        raise ConfigError("recalign config", found=repr(stage), expected=", ".join(CONFIGURATIONS))
    module, _, name = CONFIGURATIONS[stage].partition(":")
    model: type[BaseModel] = getattr(importlib.import_module(module), name)
    typer.echo("\n".join(describe_keys(model)))
