"""SmolLM2-135M-Instruct as a backbone: a language model that had read the world before, fetched once by command.

The name stays as it is: like a hub id it means the same weights on every machine, and `locate` knows where they lie.
"""

from __future__ import annotations

from recalign.models.config import BackboneConfig
from recalign.models.released import SMOLLM2, find_release
from recalign.tuning.backbones import BackboneData, BackbonePlugin


def resolve(config: BackboneConfig, data: BackboneData) -> BackboneConfig:
    """The configuration itself, once the weights are there and whole. Raises as `find_release` does."""
    find_release(SMOLLM2, verify=True)
    return config


PLUGIN = BackbonePlugin(resolve, made_from_data=False)
