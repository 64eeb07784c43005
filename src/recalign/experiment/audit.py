"""The data audit with a backbone: also which prompts and item texts it would cut."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from recalign.data.audit import AuditReport, audit
from recalign.data.audit_checks import cut_texts, tied_targets, truncated_prompts
from recalign.data.samples import Sample, SampleSet, to_samples
from recalign.models.config import BackboneConfig
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.scoring.base import sample_lists
from recalign.tuning.learned_titles import count_titles

MEASURED: Final = 5_000  # samples whose prompts are measured, evenly spaced
Progress = Callable[[int, int, str], None]
_TELL_EVERY: Final = 500  # prompts


def audit_with(
    data: SampleSet,
    backbone: str | None = None,
    *,
    max_length: int = 512,
    template: str | None = None,
    progress: Progress = lambda done, total, facts: None,
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
    ties = tied_targets(dict(data.manifest.info.get("ties", {})), table.samples)
    if backbone is None:
        return audit(table, data.catalog, data.manifest.config, ties)
    from recalign.models.backbone import load_backbone  # loads torch

    # The encoding of tuning and scoring, with nothing truncated.
    tokenizer = load_backbone(BackboneConfig(name=backbone, device="cpu")).tokenizer
    prompts = PromptTemplate.load(template or data.template)
    encoder = PromptEncoder(prompts, data.domain, tokenizer, max_length=sys.maxsize)
    knowledge = count_titles([(data, data.frame("train"))]) if prompts.states_facts else None
    asked = DomainPrompts.over(encoder, data.catalog, knowledge)
    rows = table.frame(table.samples.gather_every(-(-len(table) // MEASURED) or 1))
    truncated = truncated_prompts(_lengths(asked, to_samples(rows, data.earlier()), progress), max_length)
    cut = PromptEncoder(prompts, data.domain, tokenizer, max_length=max_length).shown.cut(data.catalog.frame["text"])
    further = [*ties, *truncated, *cut_texts(data.catalog.frame, cut, max_length)]
    return audit(table, data.catalog, data.manifest.config, further)


def _lengths(prompts: DomainPrompts, samples: Sequence[Sample], progress: Progress) -> list[int]:
    """Tokens of the prompt of each sample, answer included."""
    lengths: list[int] = []
    for start in range(0, len(samples), _TELL_EVERY):
        part = samples[start : start + _TELL_EVERY]
        encoded = prompts.encode(sample_lists(part), [sample.label for sample in part])
        lengths += [len(prompt.ids) for prompt in encoded]
        progress(len(lengths), len(samples), "")
    return lengths
