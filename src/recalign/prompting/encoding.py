"""The one way from samples to token ids; tuning, scoring and serving all use it.

The whole prompt is tokenised jointly with either answer. The *answer position* is the last id that the two share: the
model is asked there, and the loss starts at the id after it. A prompt that is too long loses its oldest history items,
never its target or its answer, and what it loses does not depend on the label. An item text that is too long for any
prompt is cut at a word, everywhere at the same one (`recalign.prompting.cuts`).

BOS and the like are what the tokenizer adds by default, once; in chat mode what the chat template writes. With a label
the answer ends with EOS where the tokenizer has one, so the model also learns to stop; EOS bears loss.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerBase

from recalign.data.domain import Domain
from recalign.data.facts import Facts
from recalign.errors import DataError, ModelError
from recalign.prompting.chat import ChatFrame
from recalign.prompting.control import ControlTokens
from recalign.prompting.prompts import HistoryText, Instruction, Prompt
from recalign.prompting.shown import ShownTexts
from recalign.prompting.template import WIDEST_FACTS, PromptTemplate
from recalign.prompting.tokens import answer_ids, common_prefix, joined_answers, tokenise

logger = logging.getLogger(__name__)

IGNORE: Final = -100
_PROBES: Final = ("x", "another target")
_SHOWN: Final = 8  # tokens before an answer in a message
_LEFT_OUT: Final = 0.1  # most of the instructions that may be too long; with more, `max_length` is wrong
_BOUNDARY: Final = 3  # tokens before the answer that must be those of the probe, see `_known`


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids of one prompt.

    Attributes:
        ids: The prompt, with its answer where one was given.
        labels: The id itself where loss is due, -100 elsewhere; as long as `ids`.
        answer_start: Index of the first id of the answer; ``ids[answer_start - 1]`` is the answer position. Without an
            answer it is ``len(ids)``.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    answer_start: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """A prompt encoded with either answer: index 0 is "no", 1 is "yes"; `shared` ids are the same in both."""

    answers: tuple[list[int], list[int]]
    shared: int


class PromptEncoder:
    """Encodes samples and instruction-tuning data for one template, domain and tokenizer.

    Attributes:
        yes_id, no_id: First tokens of the positive and the negative answer.
        shown: What prompts show of texts.
    """

    def __init__(
        self,
        template: PromptTemplate,
        domain: Domain,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        train_on_inputs: bool = False,
    ) -> None:
        """Verify that template, domain and tokenizer go together.

        Args:
            template: A Yes/No template.
            domain: Words of the domain.
            tokenizer: The backbone's; it is not changed.
            max_length: Longest prompt in tokens, answer and EOS included.
            train_on_inputs: Loss on the whole prompt, as TALLRec's public code does, instead of the answer alone.

        Raises:
            ConfigError: the template has no wording for the domain's language.
            ModelError: the answers do not differ at the first token, two targets give the same ids, or the chat
                template is missing or of no use (see `ChatFrame`).
        """
        self.template, self.domain, self.tokenizer = template, domain, tokenizer
        self.max_length, self.train_on_inputs = max_length, train_on_inputs
        eos = tokenizer.eos_token_id
        self._eos: int | None = None if eos is None else int(eos)
        self._chat = ChatFrame(tokenizer, template.name) if template.chat else None
        empty = self._texts([template.frame(Instruction("x", "", "")), template.frame(Instruction("x", "x", ""))])
        self._control = ControlTokens(tokenizer, "\n".join(empty))
        self._answers = tuple(template.frame(template.instruction(domain, (), "", label)).answer for label in (0, 1))
        self._endings: tuple[list[int], list[int], list[int]] | None = None
        self.yes_id, self.no_id = self._verify()
        self.shown = ShownTexts(self._control, self._alone, max_length)

    def encode(self, history: Sequence[HistoryText], target: str, label: int | None) -> EncodedPrompt:
        """One sample of `encode_many`, without facts."""
        return self.encode_many([history], [target], [label])[0]

    def encode_many(
        self,
        histories: Sequence[Sequence[HistoryText]],
        targets: Sequence[str],
        labels: Sequence[int | None] | None = None,
        facts: Sequence[Facts | None] | None = None,
    ) -> list[EncodedPrompt]:
        """Encode samples; each comes out as it would alone.

        Args:
            histories, targets: Per sample a history, oldest item first, and a target text.
            labels: 1, 0 or None per sample. None (or no `labels`): the ids end at the answer position.
            facts: What the template may state beside them, per sample. They stay when history items go.

        Raises:
            DataError: not even a few letters of a target fit into `max_length`.
        """
        labels = [None] * len(targets) if labels is None else labels
        shown = self.shown.items([entry.text for history in histories for entry in history] + list(targets))
        safe = [[HistoryText(shown[e.text], e.liked, e.rating) for e in history] for history in histories]
        pairs = self._fit(safe, [shown[it] for it in targets], self.shown.facts(facts or [None] * len(targets)))
        return [self._finish(pair, label) for pair, label in zip(pairs, labels, strict=True)]

    def encode_instruction(self, instruction: Instruction) -> EncodedPrompt:
        """One row of `encode_instructions`."""
        return self.encode_instructions([instruction])[0]

    def encode_instructions(self, instructions: Sequence[Instruction]) -> list[EncodedPrompt]:
        """Encode arbitrary instructions with this template's frame; loss on the output and EOS.

        Control tokens in the texts stay text; line breaks are kept. Nothing is cut off: an instruction longer than
        `max_length` is left out, with a warning that counts them.

        Raises:
            DataError: an instruction has no output, or more than a tenth are too long.
        """
        fields = [text for row in instructions for text in (row.instruction, row.input, row.output)]
        inert = iter(self._control.inert(fields, _encodable))
        prompts = [self.template.frame(Instruction(*parts)) for parts in zip(inert, inert, inert, strict=True)]
        contexts = self._texts(prompts)
        alone = self._tokenise(contexts)
        joint = self._tokenise([text + prompt.answer for text, prompt in zip(contexts, prompts, strict=True)])
        encoded, long = [], []
        for row, context_ids, ids in zip(instructions, alone, joint, strict=True):
            start = common_prefix([context_ids, ids])
            if not row.output.strip():
                raise DataError(f"instruction {row.instruction[:60]!r} has no output", expected="an answer to learn")
            full = self._with_eos(ids)
            if len(full) > self.max_length:
                long.append(self._too_long(f"instruction {row.instruction[:60]!r}", len(full)))
            else:
                encoded.append(self._labelled(full, start))
        if len(long) > len(instructions) * _LEFT_OUT:
            raise long[0]
        if long:
            logger.warning("%d of %d instructions are left out; %s", len(long), len(instructions), long[0])
        return encoded

    def _alone(self, targets: Sequence[str]) -> list[int]:
        """Tokens of the prompt of each target without a history, with room for any facts."""
        pairs = self._pairs([()] * len(targets), targets, [WIDEST_FACTS] * len(targets))
        return [self._length(pair) for pair in pairs]

    def _verify(self) -> tuple[int, int]:
        context, another = self.contexts([(), ()], _PROBES)
        no, yes = self._answers
        context_ids, other_ids, no_ids, yes_ids = self._tokenise([context, another, context + no, context + yes])
        if context_ids == other_ids:
            raise ModelError(
                f"prompt template {self.template.name!r} with this tokenizer makes the same prompt of different items",
                found=f"the same {len(context_ids)} tokens for the targets {_PROBES[0]!r} and {_PROBES[1]!r}",
                expected="prompts that differ",
                hint="Use another backbone: this tokenizer does not know the letters of the titles.",
            )
        shared = common_prefix([no_ids, yes_ids])
        if shared >= _BOUNDARY:
            self._endings = (no_ids[shared - _BOUNDARY : shared], no_ids[shared:], yes_ids[shared:])
        return answer_ids(self.tokenizer, yes=yes, no=no, context_ids=context_ids, yes_ids=yes_ids, no_ids=no_ids)

    def contexts(
        self,
        histories: Sequence[Sequence[HistoryText]],
        targets: Sequence[str],
        facts: Sequence[Facts | None] | None = None,
    ) -> list[str]:
        """What is tokenised before the answer, of texts as `shown` gives them; nothing is left out."""
        samples = zip(histories, targets, facts or [None] * len(targets), strict=True)
        render, domain = self.template.instruction, self.domain
        rows = [render(domain, history, target, None, stated) for history, target, stated in samples]
        return self._texts([self.template.frame(row) for row in rows])

    def _texts(self, prompts: Sequence[Prompt]) -> list[str]:
        """What is tokenised before the answer: the context, or the chat rendered around it."""
        contexts = [prompt.context for prompt in prompts]
        return contexts if self._chat is None else self._chat.around(contexts)

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return tokenise(self.tokenizer, texts, special=not self.template.chat)  # a chat template writes them itself

    def _pairs(
        self, histories: Sequence[Sequence[HistoryText]], targets: Sequence[str], facts: Sequence[Facts | None]
    ) -> list[_Pair]:
        contexts = self.contexts(histories, targets, facts)
        answered = self._tokenise([context + self._answers[1] for context in contexts])
        pairs = [self._known(ids) for ids in answered]
        unknown = [index for index, pair in enumerate(pairs) if pair is None]
        negative = self._tokenise([contexts[index] + self._answers[0] for index in unknown])
        for index, no in zip(unknown, negative, strict=True):
            pairs[index] = self._joined(no, answered[index])
        return [pair for pair in pairs if pair is not None]

    def _known(self, yes: list[int]) -> _Pair | None:
        """The pair, told from the positive answer alone where the ids around it are those of the probe.

        Tokens depend on the text around them. Where the last ones of the prompt and all of the answer are the same as
        in the probe, which was tokenised with both answers, so is what the other answer would have made of them.
        """
        if self._endings is None:
            return None
        before, no, ending = self._endings
        shared = len(yes) - len(ending)
        if shared <= _BOUNDARY or yes[shared - _BOUNDARY :] != before + ending:
            return None
        return _Pair((yes[:shared] + no, yes), shared)

    def _joined(self, no: list[int], yes: list[int]) -> _Pair:
        shared = common_prefix([no, yes])
        if not 0 < shared < min(len(no), len(yes)) or (no[shared], yes[shared]) != (self.no_id, self.yes_id):
            raise joined_answers(self.tokenizer, self.template.name, no, yes, (self.no_id, self.yes_id))
        return _Pair((no, yes), shared)

    def _fit(
        self, histories: Sequence[Sequence[HistoryText]], targets: Sequence[str], facts: Sequence[Facts | None]
    ) -> list[_Pair]:
        """Encode with as many of the newest history items as fit, found by halving for all samples at once."""
        best: dict[int, _Pair] = {}
        spans = {index: (0, len(history)) for index, history in enumerate(histories)}
        kept = {index: len(history) for index, history in enumerate(histories)}
        while kept:
            shown = [histories[index][len(histories[index]) - n :] for index, n in kept.items()]
            pairs = self._pairs(shown, [targets[index] for index in kept], [facts[index] for index in kept])
            for (index, n), pair in zip(kept.items(), pairs, strict=True):
                low, high = spans[index]
                fits = self._length(pair) <= self.max_length
                if fits:
                    best[index] = pair
                spans[index] = (n + 1, high) if fits else (low, n - 1)
                if not fits and n == 0:
                    raise self._too_long(f"the prompt for target {targets[index][:60]!r}", self._length(pair))
            kept = {index: (low + high) // 2 for index, (low, high) in spans.items() if index in kept and low <= high}
        return [best[index] for index in range(len(targets))]

    def _length(self, pair: _Pair) -> int:
        """Length with the longer answer, so that truncation knows nothing of the label."""
        return max(len(self._answered(ids)) for ids in pair.answers)

    def _answered(self, ids: list[int]) -> list[int]:
        return self._with_eos(ids) if self.template.ends else ids

    def _with_eos(self, ids: list[int]) -> list[int]:
        return ids if self._eos is None or ids[-1] == self._eos else [*ids, self._eos]

    def _finish(self, pair: _Pair, label: int | None) -> EncodedPrompt:
        if label is None:
            ids = tuple(pair.answers[0][: pair.shared])
            return EncodedPrompt(ids, (IGNORE,) * len(ids), pair.shared)
        return self._labelled(self._answered(pair.answers[int(label == 1)]), pair.shared)

    def _labelled(self, ids: list[int], start: int) -> EncodedPrompt:
        if not 0 < start < len(ids):
            shown = self.tokenizer.decode(ids[-_SHOWN:])
            found = f"no token of its own, at the end of {shown!r}" if start else "no token before it"
            raise DataError("the answer of a prompt", found=found, expected="a prompt, then tokens of the answer")
        masked = 0 if self.train_on_inputs else start
        return EncodedPrompt(tuple(ids), (IGNORE,) * masked + tuple(ids[masked:]), start)

    def _too_long(self, thing: str, length: int) -> DataError:
        return DataError(
            f"{thing} is too long",
            found=f"{length} tokens with template {self.template.name!r}",
            expected=f"at most max_length = {self.max_length}",
            hint="Raise max_length (the backbone must have as many positions), or shorten the text.",
        )


def _encodable(text: str) -> str:
    """Replace lone surrogates, which no tokenizer accepts."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
