"""Backbones that are made from the data at hand: one plug-in record per file, found by name.

Every other name of a backbone is a local checkpoint directory or a hub id, which needs no plug-in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from recalign.data.samples import SampleSet
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.plugins import PluginGroup
from recalign.tuning.loop import StepReport


@dataclass(frozen=True, slots=True)
class BackboneData:
    """What a backbone may be made from.

    Attributes:
        sources, targets: Data sets whose catalogue may be read; of `sources` the unlabelled train sequences as well.
        settings: Shape and pretraining of nano; other backbones may ignore them.
        progress: Called after every pretraining step.
    """

    sources: Sequence[SampleSet]
    targets: Sequence[SampleSet] = ()
    settings: NanoConfig = field(default_factory=NanoConfig)
    progress: Callable[[StepReport], None] | None = None


@dataclass(frozen=True, slots=True)
class BackbonePlugin:
    """A backbone.

    Attributes:
        resolve: From what was asked for (with the plug-in's name) and the data to the configuration of a checkpoint
            directory or hub id. It builds what is missing and finds again what it built before.
        mode: How a stage of its own, one without a parent, is tuned unless it says otherwise: all weights of a model
            that was made from this data, a LoRA on one that had read the world before.
    """

    resolve: Callable[[BackboneConfig, BackboneData], BackboneConfig]
    mode: Literal["full", "lora"] = "full"


NANO: Final = "nano"
BACKBONES: Final = PluginGroup("backbones", "backbone", "recalign.tuning.backbones", BackbonePlugin)


def resolve_backbone(
    config: BackboneConfig,
    nano: NanoConfig,
    sources: Sequence[SampleSet],
    targets: Sequence[SampleSet] = (),
    *,
    progress: Callable[[StepReport], None] | None = None,
) -> BackboneConfig:
    """What the backbone plug-in of that name makes of a `BackboneData`; any other name is a path or hub id and stays.

    Raises:
        ConfigError: See `PluginGroup.find`.
    """
    if config.name not in BACKBONES.names():
        return config
    return BACKBONES.find(config.name).resolve(config, BackboneData(sources, targets, nano, progress))
