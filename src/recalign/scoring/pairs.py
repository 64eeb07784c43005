"""Pairs "watched → recommended" that a tuned model *writes*, in answer to the chain-of-thought steps of TLRec (§4.1).

The model is asked as it was tuned. What it writes is a story about its choice, no measurement of it;
`Recommender.explain` measures. Only pairs of an item of the history and a candidate count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry
from recalign.errors import ConfigError, DataError, ModelError
from recalign.models.backbone import UNLIMITED, position_limit
from recalign.models.forward import Generation, generate
from recalign.prompting.control import ControlTokens
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.parsing import read_items, read_pairs
from recalign.prompting.prompts import CotFields, Instruction
from recalign.prompting.template import PromptTemplate
from recalign.prompting.titles import clean_title
from recalign.scoring.base import Scorer
from recalign.scoring.yes_no import YesNoScorer
from recalign.terminal import printable

CANDIDATES: Final = 19  # as in the data that the curriculum tunes on (TLRec §4.1), and so are the next two
_RECOMMEND: Final = 10
_FEATURED: Final = 5
_LONGEST_ANSWER: Final = 512  # tokens
_LEAST_ROOM: Final = 48  # tokens for the answer to step 1, one to four sentences
_SLACK: Final = 16  # tokens by which texts side by side may come out longer than each alone


@dataclass(frozen=True, slots=True)
class GeneratedPair:
    """One written pair: an item of the history, liked or not, and a candidate with its `rank` from 1."""

    item_id: str
    title: str
    liked: bool
    recommended_id: str
    recommended_title: str
    rank: int


@dataclass(frozen=True, slots=True)
class GeneratedPairs:
    """What a model wrote, and what of it counts.

    Attributes:
        pairs: In the order of the answer; each recommended item once, with its first partner.
        n_generated, n_repeated: Entries in the list that the model wrote; those that recommend an item again.
        n_candidates: Candidates that the model could choose from.
        consumed: What the user did with the items of the history, in the domain's words: "watched".
        cut: Whether the third answer was cut at the length limit.
        answers: The answers to steps 1, 2 and 3 as they were written: show them through `recalign.terminal.printable`.
        generated: Always true: nothing here was measured.
    """

    pairs: tuple[GeneratedPair, ...]
    n_generated: int
    n_repeated: int
    n_candidates: int
    consumed: str
    cut: bool
    answers: tuple[str, str, str]
    generated: bool = field(default=True, init=False)

    @property
    def n_valid(self) -> int:
        """Pairs of real items, repetitions left out."""
        return len(self.pairs)

    @property
    def rate(self) -> float | None:
        """Share of the written entries that are valid pairs, in [0, 1]; None where the model wrote no list at all."""
        return self.n_valid / self.n_generated if self.n_generated else None


def generate_pairs(
    scorer: Scorer, catalog: ItemCatalog, history: Sequence[HistoryEntry], ranked: Iterable[str]
) -> GeneratedPairs:
    """Let the language model of `scorer` write pairs for a history (oldest first).

    Args:
        scorer: A `YesNoScorer`.
        catalog, history: The items; liked and disliked ones, at least one.
        ranked: Ids of unseen items, the best first; the first `CANDIDATES` of different texts are the candidates, or
            as many as the backbone's positions hold.

    Raises:
        ConfigError: `scorer` is no language model; or the chain-of-thought template lacks the domain's language.
        DataError: There is no history or no candidate.
        ModelError: History and a single candidate do not fit into the backbone's positions.
    """
    if not isinstance(scorer, YesNoScorer):
        thing = f"generated pairs from the model {printable(scorer.name)}"
        raise ConfigError(thing, found=f"a {type(scorer).__name__}, which writes nothing", expected="a language model")
    items = list(ranked)
    for name, empty in (("history", not history), ("list of candidates", not items)):
        if empty:
            raise DataError(f"generated pairs: the {name}", found="nothing in it", expected="at least one item")
    return _PairWriter(scorer).write(catalog, history, items)


class _PairWriter:
    """Asks the model of `scorer` the three steps, with the frame, the domain and the tokenizer of its tuning."""

    def __init__(self, scorer: YesNoScorer) -> None:
        self._model, self._domain, tokenizer = scorer.model, scorer.encoder.domain, scorer.encoder.tokenizer
        self._positions = position_limit(scorer.model.config)
        # Rows of the curriculum may be longer than the prompts of the last tuning stage, whose limit the scorer has.
        self._encoder = PromptEncoder(scorer.encoder.template, self._domain, tokenizer, max_length=UNLIMITED)
        self._tokenizer = tokenizer
        self._ends = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self._template = PromptTemplate.load("tlrec-cot")
        frame = tokenizer.decode(self._encoder.encode_instruction(Instruction("x", "x", "x")).ids)
        self._control = ControlTokens(tokenizer, frame)
        self._label = self._template.cot(self._domain, 1, CotFields((), ())).output.strip()

    def write(self, catalog: ItemCatalog, history: Sequence[HistoryEntry], ranked: Sequence[str]) -> GeneratedPairs:
        """Generate the three answers and read the last one."""
        # Titles as the prompt shows them, so that what the model copies from there is found again.
        consumed = self._places([catalog.text(entry.item_id) for entry in history])
        candidates = self._places([catalog.text(item_id) for item_id in ranked])
        fields, room = self._fitting(CotFields(list(consumed), list(candidates)[:CANDIDATES], n_featured=_FEATURED))
        first = self._answer(1, fields, room)
        fields = replace(fields, preferences=self._preferences(self._text(first), room))
        second = self._answer(2, fields)
        featured = read_items(self._text(second), fields.consumed_items).items[:_FEATURED]
        fields = replace(fields, featured=[fields.consumed_items[place] for place in featured])
        third = self._answer(3, fields)
        pairs, n_generated, n_repeated = _read(self._text(third), fields)
        shown = [history[place] for place in consumed.values()]
        offered = list(candidates.values())
        return GeneratedPairs(
            tuple(_pair(catalog, shown[item], ranked, offered[candidate]) for item, candidate in pairs),
            n_generated=n_generated,
            n_repeated=n_repeated,
            n_candidates=len(fields.candidates),
            consumed=self._domain.consumed,
            cut=not third.ended,
            answers=(self._text(first), self._text(second), self._text(third)),
        )

    def _places(self, texts: Sequence[str]) -> dict[str, int]:
        """Each text as a prompt may show it, and the place where it stands first: equal texts are one."""
        places: dict[str, int] = {}
        for place, text in enumerate(self._control.inert(texts, clean_title)):
            places.setdefault(text, place)
        return places

    def _fitting(self, fields: CotFields) -> tuple[CotFields, int]:
        """Leave out the last candidates until all steps fit; also the tokens that are left for the first answer."""
        length = 0
        for n in range(len(fields.candidates), 0, -1):
            fewer = replace(fields, candidates=fields.candidates[:n], n_recommend=min(_RECOMMEND, n))
            answered = _answered(1, _answered(2, fewer))
            length = len(self._encode(3, answered).ids) + _SLACK
            if length + _LEAST_ROOM <= self._positions:
                return fewer, self._positions - length
        raise ModelError(
            "generated pairs: the prompt is too long for the backbone",
            found=f"up to {length + _LEAST_ROOM} tokens for {len(fields.consumed_items)} given items and 1 candidate",
            expected=f"at most {self._positions}",
            hint="Give fewer likes and dislikes, or use a backbone with more positions.",
        )

    def _answer(self, step: int, fields: CotFields, room: int = _LONGEST_ANSWER) -> Generation:
        encoded = self._encode(step, fields)
        prompt = encoded.ids[: encoded.answer_start]
        most = min(_LONGEST_ANSWER, room, self._positions - len(prompt))
        return generate(self._model, prompt, most=most, ends=self._ends)

    def _encode(self, step: int, fields: CotFields) -> EncodedPrompt:
        """The row as in tuning, with some answer to its step: the prompt is all that stands before that."""
        return self._encoder.encode_instruction(self._template.cot(self._domain, step, _answered(step, fields)))

    def _text(self, answer: Generation) -> str:
        return str(self._tokenizer.decode(list(answer.ids), skip_special_tokens=True))

    def _preferences(self, answer: str, room: int) -> str:
        """The answer to step 1 without the label that the template puts before it, cut where it leaves no room.

        Only what no model writes on purpose is cut: text that takes more tokens when it is read than it was written in.
        """
        text = clean_title(answer.strip().removeprefix(self._label)).strip()
        while (length := len(self._tokenizer(text, add_special_tokens=False)["input_ids"])) > room:
            text = text[: len(text) * room // length].rstrip()
        return text


def _pair(catalog: ItemCatalog, entry: HistoryEntry, ranked: Sequence[str], place: int) -> GeneratedPair:
    item, recommended = entry.item_id, ranked[place]
    return GeneratedPair(item, catalog.title(item), entry.liked, recommended, catalog.title(recommended), place + 1)


def _answered(step: int, fields: CotFields) -> CotFields:
    """`fields` with an answer to `step`: to steps 2 and 3 the longest ones."""
    if step == 1:
        return replace(fields, preferences="-")
    consumed = sorted(fields.consumed_items, key=len, reverse=True)
    if step == 2:
        return replace(fields, featured=consumed[: fields.n_featured])
    candidates = sorted(fields.candidates, key=len, reverse=True)[: fields.n_recommend]
    return replace(fields, pairs=[(consumed[0], candidate) for candidate in candidates])


def _read(answer: str, fields: CotFields) -> tuple[list[tuple[int, int]], int, int]:
    """The pairs of a third answer, each candidate once; how many entries it has, and how many of them repeat one."""
    n = len(fields.candidates)
    # Repeated texts are given out in turn: with a copy for each time that it may be named, no repetition goes unseen.
    reading = read_pairs(answer, fields.consumed_items, [*fields.candidates] * _LONGEST_ANSWER)
    partners: dict[int, int] = {}
    for item, candidate in reading.pairs:
        partners.setdefault(candidate % n, item)
    pairs = [(item, candidate) for candidate, item in partners.items()]
    return pairs, len(reading.pairs) + reading.unknown, len(reading.pairs) - len(pairs)
