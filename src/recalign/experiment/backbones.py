"""From the name of a backbone in an experiment or on the command line to something that `load_backbone` can load.

Only ``nano`` needs work: it is built from the data at hand, from titles, attributes and unlabelled sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recalign.data.samples import SampleSet
from recalign.models.backbone import resolve_device
from recalign.models.config import BackboneConfig
from recalign.models.nano_config import NanoConfig
from recalign.prompting.template import Domain
from recalign.tuning.loop import StepReport
from recalign.tuning.pretrain import Corpus, build_nano
from recalign.tuning.sources import user_sequences

NANO = "nano"


def resolve_backbone(
    config: BackboneConfig,
    nano: NanoConfig,
    sources: Sequence[SampleSet],
    targets: Sequence[SampleSet] = (),
    *,
    progress: Callable[[StepReport], None] | None = None,
) -> BackboneConfig:
    """The configuration itself, or for ``nano`` that of the built (or cached) checkpoint directory.

    Args:
        config: What was asked for.
        nano: Shape and pretraining of nano.
        sources: Data sets whose catalogue and unlabelled train sequences nano reads.
        targets: Data sets of which nano reads the catalogue alone, and only where `nano.target_titles` allows it.
        progress: Called after every pretraining step.
    """
    if config.name != NANO:
        return config
    corpus = build_corpus(nano, sources, targets)
    path = build_nano(nano, corpus, device=str(resolve_device(config.device)), progress=progress)
    return config.model_copy(update={"name": str(path)})


def build_corpus(nano: NanoConfig, sources: Sequence[SampleSet], targets: Sequence[SampleSet]) -> Corpus:
    """The unlabelled text that nano is built from: of each user's train interactions only the item ids, in order."""
    titled = [*sources, *(targets if nano.target_titles else ())]
    catalogs = [(Domain(**data.domain), data.catalog) for data in titled]
    sequences = []
    for data in sources:
        users = user_sequences(data.frame("train"))
        ids = [[entry.item_id for entry in user.entries] for user in users]
        sequences.append((Domain(**data.domain), data.catalog, ids))
    return Corpus.build(catalogs, sequences, instructions=nano.instructions, seed=nano.seed)
