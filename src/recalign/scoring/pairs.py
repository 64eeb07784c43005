"""Pairs "watched → recommended" that a tuned model *writes*, in answer to the chain-of-thought stages of TLRec (§4.1).

The model is asked as it was tuned: history and candidates in the frame of its Yes/No template, each stage with the
answers before it. What it writes is a story about its choice, no measurement of it; `Recommender.explain` measures.
Only pairs of an item of the history and a candidate count, and how many of those written do is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry
from recalign.errors import ConfigError, DataError, ModelError
from recalign.models.backbone import UNLIMITED, position_limit
from recalign.models.generation import Generation, generate
from recalign.prompting.control import ControlTokens
from recalign.prompting.cot_parsing import read_items, read_pairs
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
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
_LEAST_ROOM: Final = 48  # tokens for the answer to stage 1, one to four sentences
_SLACK: Final = 16  # tokens by which texts side by side may come out longer than each alone


@dataclass(frozen=True, slots=True)
class GeneratedPair:
    """One written pair of real items.

    Attributes:
        item_id: An item of the history.
        liked: Whether the user likes it; a model may well name a disliked one.
        recommended_id: A candidate.
        rank: Its place among the ranked items, from 1.
    """

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
        n_generated: Entries in the list that the model wrote.
        n_repeated: Entries that recommend an item again; with the valid and the unknown ones they are `n_generated`.
        n_candidates: Candidates that the model could choose from.
        consumed: What the user did with the items of the history, in the domain's words: "watched".
        cut: Whether the third answer was cut at the length limit.
        answers: The answers to stages 1, 2 and 3 as they were written: show them through `recalign.terminal.printable`.
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
        catalog: The items.
        history: Liked and disliked items; at least one.
        ranked: Ids of unseen items, the best first; the first `CANDIDATES` of different texts are the candidates. There
            are fewer where the backbone's positions hold no more.

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
    writer = PairWriter(scorer)
    written = writer.write(
        [catalog.text(entry.item_id) for entry in history], [catalog.text(item_id) for item_id in items]
    )
    pairs = [_named(catalog, history[item], items[place], place + 1) for item, place in written.pairs]
    return GeneratedPairs(
        tuple(pairs),
        n_generated=written.n_generated,
        n_repeated=written.n_repeated,
        n_candidates=written.n_candidates,
        consumed=writer.domain.consumed,
        cut=written.cut,
        answers=written.answers,
    )


def _named(catalog: ItemCatalog, entry: HistoryEntry, item_id: str, rank: int) -> GeneratedPair:
    return GeneratedPair(
        item_id=entry.item_id,
        title=catalog.title(entry.item_id),
        liked=entry.liked,
        recommended_id=item_id,
        recommended_title=catalog.title(item_id),
        rank=rank,
    )


@dataclass(frozen=True, slots=True)
class WrittenPairs:
    """`GeneratedPairs` as places: (place in the history, place among the ranked items)."""

    pairs: tuple[tuple[int, int], ...]
    n_generated: int
    n_repeated: int
    n_candidates: int
    cut: bool
    answers: tuple[str, str, str]


class PairWriter:
    """Asks one language model the three stages."""

    def __init__(self, scorer: YesNoScorer, template: str = "tlrec-cot") -> None:
        """Prepare the questions.

        Args:
            scorer: The tuned model, with the frame, the domain and the tokenizer that it was tuned with.
            template: The chain-of-thought template that it was tuned with: a name, or a path that ends in .toml.

        Raises:
            ConfigError: no such template, or one without wording in the domain's language.
        """
        self._model, self.domain, tokenizer = scorer.model, scorer.encoder.domain, scorer.encoder.tokenizer
        self._positions = position_limit(scorer.model.config)
        # Rows of this curriculum may be longer than the prompts of the last stage, whose limit the scorer has.
        self._encoder = PromptEncoder(scorer.encoder.template, self.domain, tokenizer, max_length=UNLIMITED)
        self._tokenizer = tokenizer
        self._ends = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self._stages = PromptTemplate.load(template)
        frame = tokenizer.decode(self._encoder.encode_instruction(Instruction("x", "x", "x")).ids)
        self._control = ControlTokens(tokenizer, frame)
        self._label = self._stages.cot(self.domain, 1, CotFields((), ())).output.strip()

    def write(self, history: Sequence[str], ranked: Sequence[str]) -> WrittenPairs:
        """Generate the three answers for item texts and read the last one; see `generate_pairs`.

        Raises:
            ModelError: see `generate_pairs`.
        """
        # Titles as the prompt shows them, so that what the model copies from there is found again.
        consumed, candidates = self._places(history), self._places(ranked)
        fields, room = self._fitting(CotFields(list(consumed), list(candidates)[:CANDIDATES], n_featured=_FEATURED))
        first = self._answer(1, fields, room)
        fields = replace(fields, preferences=self._preferences(self._text(first), room))
        second = self._answer(2, fields)
        featured = read_items(self._text(second), fields.consumed_items).items[:_FEATURED]
        fields = replace(fields, featured=[fields.consumed_items[place] for place in featured])
        third = self._answer(3, fields)
        pairs, n_generated, n_repeated = _read(self._text(third), fields)
        shown, offered = list(consumed.values()), list(candidates.values())
        return WrittenPairs(
            tuple((shown[item], offered[candidate]) for item, candidate in pairs),
            n_generated=n_generated,
            n_repeated=n_repeated,
            n_candidates=len(fields.candidates),
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
        """Leave out the last candidates until all stages fit; also the tokens that are left for the first answer."""
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

    def _answer(self, stage: int, fields: CotFields, room: int | None = None) -> Generation:
        encoded = self._encode(stage, fields)
        prompt = encoded.ids[: encoded.answer_start]
        left = self._positions - len(prompt)
        most = min(_LONGEST_ANSWER, left if room is None else min(room, left))
        return generate(self._model, prompt, most=most, ends=self._ends)

    def _encode(self, stage: int, fields: CotFields) -> EncodedPrompt:
        """The row as in tuning, with some answer to its stage: the prompt is all that stands before that."""
        return self._encoder.encode_instruction(self._stages.cot(self.domain, stage, _answered(stage, fields)))

    def _text(self, answer: Generation) -> str:
        return str(self._tokenizer.decode(list(answer.ids), skip_special_tokens=True))

    def _preferences(self, answer: str, room: int) -> str:
        """The answer to stage 1 without the label that the template puts before it, cut where it leaves no room.

        Only what no model writes on purpose is cut: text that takes more tokens when it is read than it was written in.
        """
        text = clean_title(answer.strip().removeprefix(self._label)).strip()
        while (length := len(self._tokenizer(text, add_special_tokens=False)["input_ids"])) > room:
            text = text[: len(text) * room // length].rstrip()
        return text


def _answered(stage: int, fields: CotFields) -> CotFields:
    """`fields` with an answer to `stage`: to stages 2 and 3 the longest ones."""
    if stage == 1:
        return replace(fields, preferences="-")
    consumed = sorted(fields.consumed_items, key=len, reverse=True)
    if stage == 2:
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
