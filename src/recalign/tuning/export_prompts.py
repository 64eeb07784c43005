"""A prompt and its answer per sample, in the words of LLaMA-Factory and of TRL.

Both tokenise by themselves. TRL takes prompt and completion as one text, and lets the tokenizer put its special tokens
before it. LLaMA-Factory (with ``template: empty``) takes them apart, and adds none. So what stands around the text is
written or left out for each, and every row is tokenised here as the trainer will do it, and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerBase

from recalign.artifacts import Json
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.facts import FactFinder
from recalign.data.samples import Sample
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.prompting.texts import AnsweredText, answered_texts
from recalign.prompting.tokens import tokenise
from recalign.scoring.base import sample_lists

LLAMAFACTORY: Final = "llamafactory"
TRL: Final = "trl"
TRAINERS: Final = (LLAMAFACTORY, TRL)


@dataclass(frozen=True, slots=True)
class TrainerRow:
    """A prompt and its answer. `otherwise`: the trainer makes other ids of them than recalign."""

    prompt: str
    answer: str
    otherwise: bool = False

    def fields(self, to: str) -> dict[str, str]:
        """The row under the trainer's names."""
        if to == LLAMAFACTORY:
            return {"instruction": self.prompt, "input": "", "output": self.answer}
        return {"prompt": self.prompt, "completion": self.answer}


@dataclass(frozen=True)
class PlainRows:
    """The template's own text, for a trainer whose tokenizer is not known: nothing is cut, no EOS is written."""

    template: PromptTemplate
    domain: Domain
    catalog: ItemCatalog
    finder: FactFinder | None = None
    compares = False

    def described(self) -> Json:
        """The settings that decide the rows."""
        return {"template": self.template.name, "template_version": self.template.version}

    def of(self, samples: Sequence[Sample]) -> list[TrainerRow]:
        """A row per sample. Raises ConfigError where the template lacks the domain's language."""
        rows = []
        for sample in samples:
            history, target = self.catalog.with_texts(sample.history), self.catalog.text(sample.item_id)
            facts = None if self.finder is None else self.finder.of(*sample_lists([sample]))[0]
            row = self.template.instruction(self.domain, history, target, sample.label, facts)
            prompt = self.template.frame(row)
            rows.append(TrainerRow(prompt.context, prompt.answer))
        return rows


@dataclass(frozen=True)
class TrainerRows:
    """The text that tuning encodes, for a trainer of the backbone called `backbone`."""

    to: str
    prompts: DomainPrompts
    backbone: str
    compares = True

    @property
    def encoder(self) -> PromptEncoder:
        """What encodes a prompt."""
        return self.prompts.encoder

    def described(self) -> Json:
        """The settings that decide the rows."""
        template = self.encoder.template
        return {
            "template": template.name,
            "template_version": template.version,
            "backbone": self.backbone,
            "max_length": self.encoder.max_length,
        }

    def of(self, samples: Sequence[Sample]) -> list[TrainerRow]:
        """A row per sample. Raises DataError where a target does not fit into a prompt."""
        asked, labels = self.prompts.texts(sample_lists(samples)), [sample.label for sample in samples]
        texts = answered_texts(self.encoder, asked.histories, asked.targets, labels, asked.facts)
        prompts = [self._prompt(text) for text in texts]
        ids = self._ids(prompts, [text.answer for text in texts])
        rows = zip(prompts, texts, ids, strict=True)
        return [TrainerRow(prompt, text.answer, tuple(found) != text.ids) for prompt, text, found in rows]

    def _prompt(self, text: AnsweredText) -> str:
        """The context, with what this trainer does not write and without what it writes itself."""
        first, chat = beginning(self.encoder.tokenizer), self.encoder.template.chat
        if self.to == LLAMAFACTORY:
            return text.context if chat else first + text.context
        return text.context.removeprefix(first) if chat else text.context

    def _ids(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[int]]:
        """Ids as the trainer makes them, but for the EOS that TRL puts after an answer without one."""
        tokenizer = self.encoder.tokenizer
        if self.to == TRL:
            joint = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
            return tokenise(tokenizer, joint, special=True)
        apart = (tokenise(tokenizer, part, special=False) for part in (prompts, answers))
        return [first + second for first, second in zip(*apart, strict=True)]


def beginning(tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of the special tokens that the tokenizer puts before every text by default, such as ``<s>``."""
    (bare,), (whole,) = (tokenise(tokenizer, ["a"], special=special) for special in (False, True))
    starts = range(len(whole) - len(bare) + 1)
    start = next((start for start in starts if whole[start : start + len(bare)] == bare), 0)
    return "".join(tokenizer.convert_ids_to_tokens(whole[:start]))
