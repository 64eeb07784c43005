"""Samples as text for other programs: the very text that `PromptEncoder` tokenises, and the answer after it.

It is found by comparing ids, so it cannot drift from what tuning sees: the text of a sample is the one whose ids are
those that the encoder makes of the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recalign.data.facts import Facts
from recalign.errors import DataError
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.prompts import HistoryText
from recalign.prompting.tokens import tokenise


@dataclass(frozen=True, slots=True)
class AnsweredText:
    """One sample as text.

    Attributes:
        context: All up to the answer; with a chat template, what the template makes of the message.
        answer: The answer as it follows, and the text of EOS where tuning puts EOS after it.
        ids: What the encoder makes of both together.
    """

    context: str
    answer: str
    ids: tuple[int, ...]


def answered_texts(
    encoder: PromptEncoder,
    histories: Sequence[Sequence[HistoryText]],
    targets: Sequence[str],
    labels: Sequence[int],
    facts: Sequence[Facts | None] | None = None,
) -> list[AnsweredText]:
    """The texts of samples, as `PromptEncoder.encode_many` encodes them with their labels.

    Args:
        encoder: Of the template, domain and tokenizer.
        histories, targets, labels: Per sample a history (oldest item first), a target text, and 1 or 0.
        facts: See `encode_many`.

    Raises:
        DataError: See `encode_many`.
    """
    encoded = encoder.encode_many(histories, targets, labels, facts)
    shown = encoder.shown.items([entry.text for history in histories for entry in history] + list(targets))
    safe = [[HistoryText(shown[item.text], item.liked, item.rating) for item in history] for history in histories]
    stated = encoder.shown.facts(facts or [None] * len(targets))
    answers, ending = _answers(encoder), _ending(encoder)
    special = not encoder.template.chat
    kept = {index: len(history) for index, history in enumerate(histories)}
    texts: dict[int, AnsweredText] = {}
    while kept:
        newest = [safe[index][len(safe[index]) - count :] for index, count in kept.items()]
        kept_facts = [stated[index] for index in kept]
        contexts = encoder.contexts(newest, [shown[targets[index]] for index in kept], kept_facts)
        answered = [context + answers[labels[index]] for index, context in zip(kept, contexts, strict=True)]
        found = tokenise(encoder.tokenizer, answered, special=special)
        for index, context, ids in zip(list(kept), contexts, found, strict=True):
            wanted = encoded[index].ids
            if wanted in (tuple(ids), (*ids, *ending)):
                eos = encoder.tokenizer.eos_token if len(wanted) > len(ids) else ""
                texts[index] = AnsweredText(context, answers[labels[index]] + eos, wanted)
                del kept[index]
            elif kept[index] == 0:
                raise DataError(f"the prompt for target {targets[index][:60]!r}", found="ids that no text of it has")
            else:
                kept[index] -= 1
    return [texts[index] for index in range(len(targets))]


def _answers(encoder: PromptEncoder) -> tuple[str, str]:
    """The answers "no" and "yes" as they follow a prompt."""
    template, domain = encoder.template, encoder.domain
    no, yes = (template.frame(template.instruction(domain, (), "", label)).answer for label in (0, 1))
    return no, yes


def _ending(encoder: PromptEncoder) -> tuple[int, ...]:
    eos = encoder.tokenizer.eos_token_id
    return () if eos is None else (int(eos),)
