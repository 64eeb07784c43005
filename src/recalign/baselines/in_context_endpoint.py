"""In-context learning through a teacher's endpoint: answers are parsed; what is no answer is counted and left out.

TALLRec (Fig. 1) found that an API model often refuses, and ignored such samples: so does this, and says how many they
were. Answers go through the ledger and the budget of `recalign.teacher`, so a run that was stopped continues and pays
for nothing twice. The client gives no probabilities, so a score is 1 for "liked" and -1 for "not": an order with ties.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recalign.artifacts import fingerprint
from recalign.baselines.in_context import DemonstratedTemplate, render_demonstrations
from recalign.data.samples import Sample, SampleSet
from recalign.data.schema import SCORES
from recalign.errors import TeacherError
from recalign.prompting.domain import Domain
from recalign.prompting.prompts import CotFields, HistoryText
from recalign.prompting.template import PromptTemplate
from recalign.teacher.answers import OFF_SCHEMA, REFUSAL, Rejected, read_answer
from recalign.teacher.base import Case, Completion, Question, Teacher, Usage
from recalign.teacher.budget import Estimate, cost, expected_tokens, worst_case
from recalign.teacher.calls import Calls, GivenUp
from recalign.teacher.clock import Clock
from recalign.teacher.config import TeachConfig
from recalign.teacher.ledger import Ledger
from recalign.teacher.pipeline import NO_ANSWER, run_to_end

_THOUGHT = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_ANSWER = 24  # tokens of an answer, for the estimate


@dataclass(frozen=True)
class EndpointAnswers:
    """What a teacher said about samples.

    Attributes:
        frame: Columns of `schema.SCORES`, one row per sample that was answered, in the order of the samples.
        asked: How many samples were asked about.
        excluded: Reason → how many samples: refusals, answers that are neither label, no answer at all.
        spent: Tokens that all runs on the ledger were billed for.
    """

    frame: pl.DataFrame
    asked: int
    excluded: dict[str, int]
    spent: Usage


def ask_endpoint(
    samples: Sequence[Sample],
    data: SampleSet,
    teacher: Teacher,
    config: TeachConfig,
    ledger: Path,
    demonstrations: Sequence[Sample] = (),
    *,
    template: str = "",
    name: str = "",
    seed: int = 0,
    clock: Clock | None = None,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
) -> EndpointAnswers:
    """Ask a teacher whether the users of `samples` like their targets.

    Args:
        samples: What is asked about.
        data: Prepared data: catalogue and domain words.
        teacher: As `recalign.teacher.factory.make_teacher` gives it; it is closed at the end.
        config: Temperature, longest answer, concurrency, budget, attempts.
        ledger: Where answers are kept.
        demonstrations: Answered samples before each question; none: zero-shot.
        template: Prompt template; the one that the data names by default.
        name: Name in tables; the teacher's by default.
        seed: Column of the score file: the seed of the demonstrations.
        clock: For tests.
        announce: Told before the first call what is to be expected, line by line.
        progress: Told after every answer how many there are, of how many, and the tokens spent.

    Raises:
        TeacherError: The teacher cannot be asked at all, or the budget is used up; answers are in the ledger.
        ConfigError: No such template, or it does not go with the data's language.
        ArtifactError: The ledger is in use or cannot be written.
    """
    plain, domain = PromptTemplate.load(template or data.template), Domain(**data.domain)
    shown = DemonstratedTemplate(plain, render_demonstrations(demonstrations, data.catalog, plain, domain))
    questions = [_question(sample, data, shown, domain, config) for sample in samples]
    for line in _estimate(questions, config).lines():
        announce(line)
    with Ledger(ledger) as opened:
        wording = {"template": fingerprint(shown.to_toml()), "task": "in-context"}
        calls = Calls(teacher, config, opened, template=wording, clock=clock or Clock(seed))
        verdicts = run_to_end(_Asking(calls, questions, domain, progress).run())
        spent = opened.spent()
    rows = [
        (
            sample.sample_id,
            sample.user_id,
            sample.item_id,
            sample.label,
            1.0 if liked else -1.0,
            name or teacher.name,
            seed,
        )
        for sample, liked in zip(samples, verdicts, strict=True)
        if isinstance(liked, bool)
    ]
    reasons = Counter(verdict for verdict in verdicts if isinstance(verdict, str))
    return EndpointAnswers(
        pl.DataFrame(rows, schema=SCORES, orient="row"), len(samples), dict(sorted(reasons.items())), spent
    )


def read_label(completion: Completion, domain: Domain) -> bool | str:
    """Whether the answer is the positive one; or the reason why it is neither.

    The first word decides, whatever its case and the marks around it ("**Yes**, because ...").
    """
    if completion.refusal or completion.finish_reason == "content_filter":
        return REFUSAL
    said = _words(_THOUGHT.sub("", completion.text, count=1))
    for liked, label in ((True, _words(domain.yes)), (False, _words(domain.no))):
        if label and said[: len(label)] == label:
            return liked
    verdict = read_answer(1, completion, CotFields((), ()))
    return verdict.reason if isinstance(verdict, Rejected) else OFF_SCHEMA


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _question(
    sample: Sample, data: SampleSet, template: PromptTemplate, domain: Domain, config: TeachConfig
) -> Question:
    text = data.catalog.text
    history = [HistoryText(text(entry.item_id), entry.liked, entry.rating) for entry in sample.history]
    prompt = template.frame(template.instruction(domain, history, text(sample.item_id), None)).context
    case = Case(sample.sample_id, sample.user_id, sample.history, (sample.item_id,))
    return Question(case, 1, prompt, config.max_tokens, config.temperature)


def _estimate(questions: Sequence[Question], config: TeachConfig) -> Estimate:
    """What calls for all questions take; a usual answer is as long as the label and a sentence."""
    prompts = [question.prompt for question in questions]
    expected = Usage(sum(map(expected_tokens, prompts)), len(prompts) * min(config.max_tokens, _ANSWER))
    worst = [worst_case(prompt, config.max_tokens) for prompt in prompts]
    most = Usage(sum(one.prompt_tokens for one in worst), sum(one.completion_tokens for one in worst))
    return Estimate(len(prompts), len(prompts), expected, most, cost(expected, config), cost(most, config))


class _Asking:
    """Workers that share one list of questions, so never more calls are in flight than there are workers."""

    def __init__(
        self,
        calls: Calls,
        questions: Sequence[Question],
        domain: Domain,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self._calls, self._domain, self._progress = calls, domain, progress
        self._count, self._waiting = len(questions), iter(enumerate(questions))
        self._given_up = 0
        self._verdicts: dict[int, bool | str] = {}

    async def run(self) -> list[bool | str]:
        """A verdict per question, in order; then the teacher is closed."""
        most = self._calls.config.concurrency
        workers = min(self._calls.teacher.max_concurrency or most, most, self._count)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the others are what stopping caused
        finally:
            await self._calls.teacher.close()
        return [self._verdicts[place] for place in range(self._count)]

    async def _work(self) -> None:
        for place, question in self._waiting:
            try:
                self._verdicts[place] = await self._verdict(question)
                spent = f"{self._calls.budget.spent.total:,} tokens"
                self._progress(len(self._verdicts), self._count, spent)
            except TeacherError:
                await self._calls.drain()  # what is in flight is paid for and belongs into the ledger
                raise

    async def _verdict(self, question: Question) -> bool | str:
        try:
            reply = await self._calls.ask(question)
        except GivenUp as failure:
            self._given_up += 1
            if self._given_up < self._calls.config.failures:
                return NO_ANSWER
            raise TeacherError(
                f"teacher {self._calls.teacher.name} does not answer",
                found=f"{self._given_up} questions in a row given up, the last for: {failure.reason}",
                hint="All answers are kept in the ledger: run the same again when it does.",
            ) from None
        self._given_up = 0
        return read_label(reply.exchange.completion, self._domain)
