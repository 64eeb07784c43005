"""In-context learning: the question to a model alone, or after m answered samples (TALLRec §3.1.3).

The demonstrations are rendered with the same template as the question, each with its answer, and stand before it in the
one prompt that `PromptEncoder` encodes; the score is the label logit difference of `YesNoScorer`. A prompt that is too
long loses the oldest entries of the question's history, never a demonstration. Where facts are known, demonstrations
and question state them as the prompts of tuning do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
from transformers import PreTrainedTokenizerBase

from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.facts import FactFinder, Facts
from recalign.data.samples import Sample, SampleSet, choose_shots
from recalign.models.backbone import Backbone, load_backbone
from recalign.models.config import BackboneConfig, Precision
from recalign.models.precision import for_precision, in_precision
from recalign.prompting.control import ControlTokens
from recalign.prompting.cuts import warn_of_cuts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.prompts import HistoryText, Instruction, Prompt
from recalign.prompting.spec import read_spec
from recalign.prompting.template import PromptTemplate
from recalign.prompting.titles import clean_title
from recalign.scoring.base import sample_lists
from recalign.scoring.prompted import ScoreKind
from recalign.scoring.yes_no import YesNoScorer

_LONGEST: Final = 4096  # tokens of a prompt where the backbone would take more


class DemonstratedTemplate(PromptTemplate):
    """A template whose every prompt begins with the same text: `demonstrations` (see `render_demonstrations`)."""

    def __init__(self, template: PromptTemplate, demonstrations: str) -> None:
        self.demonstrations = demonstrations  # the constructor below renders a prompt
        super().__init__(read_spec(template.to_toml(), template.name), template.to_toml())

    def frame(self, instruction: Instruction) -> Prompt:
        prompt = super().frame(instruction)
        return Prompt(self.demonstrations + prompt.context, prompt.answer, prompt.chat)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, DemonstratedTemplate) and other.demonstrations == self.demonstrations
        return same and super().__eq__(other)

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.demonstrations))


def render_demonstrations(
    samples: Sequence[Sample],
    catalog: ItemCatalog,
    template: PromptTemplate,
    domain: Domain,
    tokenizer: PreTrainedTokenizerBase | None = None,
    facts: Sequence[Facts | None] | None = None,
) -> str:
    """Answered samples as text, in their order, with the template of the question.

    Where there is a `tokenizer`, the backbone's, its control tokens stay text in titles. `facts` are those of each
    sample, with harmless names; by default none are stated.

    Raises:
        ConfigError: The template has no wording in the domain's language.
        DataError: An item is not in the catalogue.
    """
    texts = {entry.item_id: catalog.text(entry.item_id) for sample in samples for entry in sample.history}
    texts |= {sample.item_id: catalog.text(sample.item_id) for sample in samples}
    if tokenizer is not None:
        frames = [template.frame(Instruction("x", text, "")).context for text in ("", "x")]
        control = ControlTokens(tokenizer, "\n".join([*frames, str(tokenizer.chat_template or "")]))
        texts = dict(zip(texts, control.inert(list(texts.values()), clean_title), strict=True))
    rendered = ""
    for sample, found in zip(samples, facts or [None] * len(samples), strict=True):
        history = [HistoryText(texts[entry.item_id], entry.liked, entry.rating) for entry in sample.history]
        prompt = template.frame(template.instruction(domain, history, texts[sample.item_id], sample.label, found))
        rendered += prompt.context + prompt.answer + "\n\n"
    return rendered


def in_context_scorer(
    backbone: Backbone,
    data: SampleSet,
    demonstrations: Sequence[Sample] = (),
    *,
    template: str = "",
    max_length: int = _LONGEST,
    name: str = "in-context",
    kind: ScoreKind = "log-odds",
    finder: FactFinder | None = None,
) -> YesNoScorer:
    """The backbone as a `Scorer` of the data's items.

    `demonstrations` are answered samples, for example `choose_shots(data.samples("train"), m, seed)`; without any it is
    zero-shot. The template is the one that the data names by default. `max_length` is the longest prompt in tokens,
    demonstrations included; the backbone may take fewer. For `kind` see `recalign.scoring.yes_no.YesNoScorer`. A
    `finder` finds the facts that the template states.

    Raises:
        ConfigError: No such template, or it does not go with the data's language.
        ModelError: The two answers do not differ at their first token, or a chat template is missing.
    """
    plain, domain = PromptTemplate.load(template or data.template), data.domain
    longest = min(max_length, backbone.max_positions)
    alone = PromptEncoder(plain, domain, backbone.tokenizer, max_length=longest)
    shown = ItemCatalog(
        data.catalog.frame.with_columns(pl.col("text").replace(alone.shown.cut(data.catalog.frame["text"])))
    )
    asked = [] if finder is None else [found for ask in sample_lists(demonstrations) for found in finder.of(ask)]
    facts = alone.shown.facts(asked) if asked else None
    text = render_demonstrations(demonstrations, shown, plain, domain, backbone.tokenizer, facts)
    encoder = PromptEncoder(DemonstratedTemplate(plain, text), domain, backbone.tokenizer, max_length=longest)
    warn_of_cuts(encoder.shown.cut(data.catalog.frame["text"]), longest)
    return YesNoScorer(backbone.model, encoder, data.catalog, name=name, kind=kind, finder=finder)


def load_in_context(
    config: BackboneConfig,
    data: SampleSet,
    demonstrations: int = 0,
    seed: int = 0,
    *,
    template: str = "",
    name: str = "",
    kind: ScoreKind = "log-odds",
    precision: Precision = "auto",
) -> YesNoScorer:
    """Load an untuned backbone and make it a `Scorer` of the data's items; see `in_context_scorer`.

    A nano backbone must be resolved already (`recalign.tuning.backbones.resolve_backbone`). The m demonstrations
    are those samples of the train split that an m-shot run of this seed would be given; the name in tables is
    "in-context m-shot" by default.

    Raises:
        DataError: The train split has fewer than m samples.
        ModelError: The backbone cannot be loaded, or `precision` is not for it or its device.
    """
    shown = choose_shots(data.samples("train"), demonstrations, seed)
    label = name or f"in-context {demonstrations}-shot"
    backbone = load_backbone(for_precision(config, precision))
    backbone.model = in_precision(backbone.model, precision)
    return in_context_scorer(backbone, data, shown, template=template, name=label, kind=kind)
