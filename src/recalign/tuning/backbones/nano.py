"""nano as a backbone: built from the titles, attributes and unlabelled sequences of the data at hand, and cached."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.data.samples import SampleSet
from recalign.models.backbone import resolve_device
from recalign.models.config import BackboneConfig, NanoConfig
from recalign.tuning.backbones import BackboneData, BackbonePlugin
from recalign.tuning.pretrain import Corpus, build_nano
from recalign.tuning.sources import user_sequences


def resolve(config: BackboneConfig, data: BackboneData) -> BackboneConfig:
    """The configuration of the built (or cached) checkpoint directory."""
    corpus = build_corpus(data.settings, data.sources, data.targets)
    device = str(resolve_device(config.device))
    path = build_nano(data.settings, corpus, device=device, progress=data.progress)
    return config.model_copy(update={"name": str(path)})


def build_corpus(nano: NanoConfig, sources: Sequence[SampleSet], targets: Sequence[SampleSet]) -> Corpus:
    """The unlabelled text that nano is built from: of each user's train interactions only the item ids, in order.

    Of `targets` the titles alone are read, and only where `nano.target_titles` allows it.
    """
    titled = [*sources, *(targets if nano.target_titles else ())]
    catalogs = [(data.domain, data.catalog) for data in titled]
    sequences = []
    for data in sources:
        users = user_sequences(data.frame("train"))
        ids = [[entry.item_id for entry in user.entries] for user in users]
        sequences.append((data.domain, data.catalog, ids))
    return Corpus.build(catalogs, sequences, instructions=nano.instructions, seed=nano.seed)


PLUGIN = BackbonePlugin(resolve)
