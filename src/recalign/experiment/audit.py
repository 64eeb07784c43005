"""The data audit with a backbone: also which prompts it would truncate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from recalign.data.audit import AuditReport, audit
from recalign.data.audit_checks import truncated_prompts
from recalign.data.samples import SampleSet, to_samples
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate

MEASURED: Final = 5_000  # samples whose prompts are measured, evenly spaced
_TELL_EVERY: Final = 500  # of them


def audit_with(
    data: SampleSet,
    backbone: str | None = None,
    *,
    max_length: int = 512,
    template: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
) -> AuditReport:
    """Audit prepared data.

    Args:
        data: The prepared data.
        backbone: Path or hub id of a model whose tokenizer counts the prompts; None: they are not counted.
        max_length: The longest prompt in tokens.
        template: Prompt template; the data's own where None.
        progress: Told how many prompts are measured, of how many.

    Raises:
        ConfigError: There is no such template.
        ModelError: The backbone cannot be loaded.
    """
    table = data.table()
    if backbone is None:
        return audit(table, data.catalog, data.manifest.config)
    # The encoding of tuning and scoring, with nothing truncated.
    tokenizer = load_backbone(BackboneConfig(name=backbone, device="cpu")).tokenizer
    prompts = PromptTemplate.load(template or data.template)
    encoder = PromptEncoder(prompts, data.domain, tokenizer, max_length=sys.maxsize)
    samples = to_samples(table.frame(table.samples.gather_every(-(-len(table) // MEASURED) or 1)))
    lengths: list[int] = []
    for start in range(0, len(samples), _TELL_EVERY):
        part = samples[start : start + _TELL_EVERY]
        histories = [data.catalog.with_texts(sample.history) for sample in part]
        targets = [data.catalog.text(sample.item_id) for sample in part]
        encoded = encoder.encode_many(histories, targets, [sample.label for sample in part])
        lengths += [len(prompt.ids) for prompt in encoded]
        progress(len(lengths), len(samples), "")
    truncated = truncated_prompts(lengths, max_length)
    return audit(table, data.catalog, data.manifest.config, truncated)
