"""From the name of a backbone in an experiment or on the command line to something that `load_backbone` can load."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recalign.data.samples import SampleSet
from recalign.models.config import BackboneConfig
from recalign.models.nano_config import NanoConfig
from recalign.tuning.backbones import BACKBONES, BackboneData
from recalign.tuning.loop import StepReport

NANO = "nano"


def resolve_backbone(
    config: BackboneConfig,
    nano: NanoConfig,
    sources: Sequence[SampleSet],
    targets: Sequence[SampleSet] = (),
    *,
    progress: Callable[[StepReport], None] | None = None,
) -> BackboneConfig:
    """What the backbone plug-in of that name makes; a name that is no plug-in is a path or hub id and stays.

    Args:
        config: What was asked for.
        nano: Shape and pretraining of nano.
        sources: Data sets whose catalogue and unlabelled train sequences may be read.
        targets: Data sets whose catalogue alone may be read.
        progress: Called after every pretraining step.

    Raises:
        ConfigError: See `PluginGroup.find`.
    """
    if config.name not in BACKBONES.names():
        return config
    data = BackboneData(sources, targets, settings=nano, progress=progress)
    return BACKBONES.find(config.name).resolve(config, data)
