"""Backbones that have a name here, most of them made from the data at hand: one plug-in record per file.

Every other name of a backbone is a local checkpoint directory or a hub id, which needs no plug-in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

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
        made_from_data: Whether it is made from the data at hand. Then a stage without a parent tunes all its weights
            unless it says otherwise, and a stage with a parent that names it means the parent's.
    """

    resolve: Callable[[BackboneConfig, BackboneData], BackboneConfig]
    made_from_data: bool = True


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
