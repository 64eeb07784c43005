"""In-context learning through an endpoint: the labels' probabilities or parsed answers; refusals left out.

TALLRec (Fig. 1) found that an API model often refuses, and ignored such samples. They are left out here too, and
counted. A run that was stopped pays for nothing twice.

Where every answer has log probabilities of its tokens, scores are log-odds (`recalign.baselines.answer_odds`).
Otherwise a score is 1 for "liked" and -1 for "not", an order with ties, for all of them: log-odds of some and signs of
others make no common order, and an AUC over both would measure the mixture.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl

from recalign.artifacts import fingerprint
from recalign.baselines.answer_odds import LabelOdds, label_odds, words
from recalign.baselines.in_context import DemonstratedTemplate, render_demonstrations
from recalign.data.domain import Domain
from recalign.data.samples import Sample, SampleSet
from recalign.data.schema import LABEL_MASS, SCORES
from recalign.llm.asking import work_through
from recalign.llm.base import Completion, LanguageModel, LogprobsRefused, Question, Usage
from recalign.llm.budget import CallsEstimate, cost, expected_tokens, worst_case
from recalign.llm.calls import Calls, Clock, GivenUp, Reply
from recalign.llm.config import ClientConfig
from recalign.llm.ledger import Ledger
from recalign.llm.reading import NO_ANSWER, REFUSAL, is_refused, off_schema, unusable, without_thoughts
from recalign.prompting.template import PromptTemplate
from recalign.terminal import printable

_TOP: Final = 20  # tokens listed at each place: the most that the API gives
_FIRST_CLAUSE: Final = re.compile(r"[\W_]*[\w ]*")  # of an answer: up to the first mark after its first word
_ANSWER: Final = 24  # tokens of an answer, for the estimate


@dataclass(frozen=True)
class EndpointAnswers:
    """What a language model said about samples.

    Attributes:
        frame: Columns of `schema.SCORES`, one row per sample that was answered, in the order of the samples; with
            `label_mass` where `log_odds`.
        asked: How many samples were asked about.
        excluded: Reason → how many samples: refusals, answers that are neither label, no answer at all.
        spent: Tokens that all runs on the ledger were billed for.
        log_odds: Whether all scores are log-odds; else all are 1 or -1.
        probabilities, bounded: Answered samples with probabilities of the labels; those where one of these is a bound.
        requested: Whether log probabilities were to be asked for.
        refused: What an endpoint said that would not give any; "" where it did not say so.
    """

    frame: pl.DataFrame
    asked: int
    excluded: dict[str, int]
    spent: Usage
    log_odds: bool = False
    probabilities: int = 0
    bounded: int = 0
    requested: bool = True
    refused: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The label that an answer names, and the log-odds where its tokens tell them."""

    liked: bool
    odds: LabelOdds | None


def ask_endpoint(
    samples: Sequence[Sample],
    data: SampleSet,
    teacher: LanguageModel,
    config: ClientConfig,
    ledger: Path,
    demonstrations: Sequence[Sample] = (),
    *,
    template: str = "",
    name: str = "",
    seed: int = 0,
    logprobs: bool = True,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
) -> EndpointAnswers:
    """Ask a language model whether the users of `samples` like their targets. Then the teacher is closed.

    Args:
        samples: What is asked about.
        data: Prepared data: catalogue and domain words.
        teacher: As `recalign.cot.teachers.make_language_model` gives it.
        config: How it is asked.
        ledger: Where answers are kept; those with and without log probabilities are kept apart.
        demonstrations: Answered samples before each question; none: zero-shot.
        template: Prompt template; the one that the data names by default.
        name: Name in tables; the teacher's by default.
        seed: Column of the score file: the seed of the demonstrations.
        logprobs: Ask for log probabilities.
        announce: Told before the first call what is to be expected, line by line; later, if logprobs are refused.
        progress: See `recalign.llm.asking.work_through`.

    Raises:
        TeacherError: The teacher cannot be asked at all, or the budget is used up; answers are in the ledger.
        ConfigError: No such template, or it does not go with the data's language.
        ArtifactError: The ledger is in use or cannot be written.
    """
    plain, domain = PromptTemplate.load(template or data.template), data.domain
    shown = DemonstratedTemplate(plain, render_demonstrations(demonstrations, data.catalog, plain, domain))
    questions = []
    for sample in samples:
        history, target = data.catalog.with_texts(sample.history), data.catalog.text(sample.item_id)
        prompt = shown.frame(shown.instruction(domain, history, target, None)).context
        questions.append(Question(prompt, config.max_tokens, config.temperature, _TOP if logprobs else 0))
    for line in _estimate(questions, config).lines():
        announce(line)
    with Ledger(ledger) as opened:
        wording = {"template": fingerprint(shown.to_toml()), "task": "in-context"}
        labels = _Labels(Calls(teacher, config, opened, template=wording, clock=Clock(seed)), domain, announce)
        verdicts = work_through(questions, labels.verdict, labels.calls, progress)
        spent = opened.spent()
    reasons = Counter(verdict for verdict in verdicts if isinstance(verdict, str))
    answered = [
        (sample, answer) for sample, answer in zip(samples, verdicts, strict=True) if isinstance(answer, _Answer)
    ]
    odds = [answer.odds for _, answer in answered if answer.odds is not None]
    complete = bool(odds) and len(odds) == len(answered)
    return EndpointAnswers(
        _frame(answered, name or teacher.name, seed, odds if complete else None),
        len(samples),
        dict(sorted(reasons.items())),
        spent,
        log_odds=complete,
        probabilities=len(odds),
        bounded=sum(label.bounded for label in odds),
        requested=logprobs,
        refused=labels.refused,
    )


def read_label(completion: Completion, domain: Domain) -> bool | str:
    """Whether the answer is the positive one; or the reason why it is neither.

    The first word decides, whatever its case and the marks around it ("**Yes**, because ..."). Where the length limit
    cut the answer, the label must stand alone or before a mark: "No strong" may have been the begin of a thought.
    """
    if is_refused(completion):
        return REFUSAL
    text = without_thoughts(completion.text)
    if completion.finish_reason == "length":
        text = _FIRST_CLAUSE.match(text)[0]  # type: ignore[index]
    said = words(text)
    for liked, label in ((True, words(domain.yes)), (False, words(domain.no))):
        if label and (said == label if completion.finish_reason == "length" else said[: len(label)] == label):
            return liked
    return unusable(completion) or off_schema(completion.text)


def _frame(
    answered: Sequence[tuple[Sample, _Answer]], name: str, seed: int, odds: Sequence[LabelOdds] | None
) -> pl.DataFrame:
    """Columns of a score file: log-odds and label mass from `odds`, or the signs of the answers."""
    scores = [label.score for label in odds] if odds else [1.0 if answer.liked else -1.0 for _, answer in answered]
    rows = [
        (sample.sample_id, sample.user_id, sample.item_id, sample.label, score, name, seed)
        for (sample, _), score in zip(answered, scores, strict=True)
    ]
    frame = pl.DataFrame(rows, schema=SCORES, orient="row")
    return frame.with_columns(pl.Series(LABEL_MASS, [label.mass for label in odds], pl.Float64)) if odds else frame


def _estimate(questions: Sequence[Question], config: ClientConfig) -> CallsEstimate:
    """What calls for all questions take; a usual answer is as long as the label and a sentence."""
    prompts = [question.prompt for question in questions]
    expected = Usage(sum(map(expected_tokens, prompts)), len(prompts) * min(config.max_tokens, _ANSWER))
    most = sum((worst_case(prompt, config.max_tokens) for prompt in prompts), Usage(0, 0))
    return CallsEstimate(len(prompts), len(prompts), expected, most, cost(expected, config), cost(most, config))


class _Labels:
    """Reads a label from every answer.

    Attributes:
        refused: What an endpoint said that gives no log probabilities. From then on it is asked without.
    """

    def __init__(self, calls: Calls[Question], domain: Domain, announce: Callable[[str], None]) -> None:
        self.calls, self.refused = calls, ""
        self._domain, self._announce = domain, announce

    async def verdict(self, question: Question) -> _Answer | str:
        """The answer, or the reason why there is none."""
        try:
            reply = await self._ask(question)
        except GivenUp:
            return NO_ANSWER
        completion = reply.exchange.completion
        label = read_label(completion, self._domain)
        return label if isinstance(label, str) else _Answer(label, label_odds(completion, self._domain, label))

    async def _ask(self, question: Question) -> Reply:
        """With log probabilities, until they are refused; then without. Nothing that was paid for is asked again."""
        if not self.refused or self.calls.stored(question):
            try:
                return await self.calls.ask(question)
            except LogprobsRefused as refusal:
                if not self.refused:
                    self.refused = refusal.found
                    self._announce(f"no log probabilities: {printable(refusal.found)}; answers are parsed instead")
        return await self.calls.ask(replace(question, top_logprobs=0))
