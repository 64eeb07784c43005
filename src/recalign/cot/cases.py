"""What a teacher of chain-of-thought data is asked: three questions about the case of a sample, in one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, runtime_checkable

import polars as pl

from recalign.data.domain import Domain
from recalign.data.samples import HistoryEntry, Sample, SampleSet, to_samples
from recalign.data.teacher_candidates import CandidateSet, user_filtering
from recalign.errors import TeacherError
from recalign.llm.base import Question, Teacher
from recalign.prompting.prompts import CotFields
from recalign.prompting.template import PromptTemplate

if TYPE_CHECKING:
    from recalign.cot.config import TeachConfig

STEPS: Final = (1, 2, 3)  # preferences, featured items, recommendations


@dataclass(frozen=True, slots=True)
class Case:
    """What a teacher may know of a sample: everything but its truth.

    The history is oldest first; candidates are item ids in the order of the prompt. The heuristic teacher leaves all
    that this user did out of its statistics.
    """

    sample_id: str
    user_id: str
    history: tuple[HistoryEntry, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CotQuestion(Question):
    """A question with the case and the step (1, 2 or 3) that it is about, for teachers that do not read prompts."""

    case: Case
    step: int


CotTeacher: TypeAlias = Teacher[CotQuestion]


@runtime_checkable
class Preparing(Protocol):
    """A teacher that wants to see all cases before the first question."""

    def prepare(self, cases: Sequence[Case]) -> None:
        """Called once with all cases."""


@dataclass(frozen=True)
class Source:
    """What is asked about, and how to ask. `make_source` makes one.

    There is one case per candidate set, in order. `truths` are samples by sample id; no teacher sees them. `considered`
    counts the positive samples that sets were made for.
    """

    samples: SampleSet
    config: TeachConfig
    template: PromptTemplate
    sets: list[CandidateSet]
    cases: list[Case]
    truths: dict[str, Sample]
    considered: int

    @cached_property
    def domain(self) -> Domain:
        """Words of the data's domain."""
        return self.samples.domain

    def fields(self, case: Case) -> CotFields:
        """What is known before the first answer."""
        text = self.samples.catalog.text
        return CotFields(
            consumed_items=tuple(text(entry.item_id) for entry in case.history),
            candidates=tuple(text(item) for item in case.candidates),
            n_recommend=min(self.config.recommend, len(case.candidates)),
            n_featured=self.config.featured,
        )

    def question(self, case: Case, step: int, fields: CotFields) -> CotQuestion:
        """The question of a step; `fields` has the answers before it."""
        prompt = self.template.cot_question(self.domain, step, fields)
        return CotQuestion(prompt, self.config.max_tokens, self.config.temperature, case=case, step=step)


def make_source(samples: SampleSet, config: TeachConfig) -> Source:
    """Candidate sets and cases of the source samples that `config` names.

    Raises:
        ConfigError: The template is no chain-of-thought template, or lacks the domain's language.
        DataError: The split has no positive sample.
        TeacherError: No candidate set contains its sample's truth.
    """
    template = PromptTemplate.load(config.template)
    template.cot_question(samples.domain, 1, CotFields((), ()))
    sets, counts = user_filtering(samples, config.candidates)
    if not sets:
        found = f"no candidate set with its truth among {counts.considered:,} source samples"
        hint = "Raise --limit, or use data with more users."
        raise TeacherError(f"nothing to ask about in {samples.path}", found=found, hint=hint)
    frame = samples.frame(config.split).filter(pl.col("sample_id").is_in([candidates.sample_id for candidates in sets]))
    truths = {sample.sample_id: sample for sample in to_samples(frame)}
    cases = []
    for candidates in sets:
        sample = truths[candidates.sample_id]
        cases.append(Case(sample.sample_id, sample.user_id, sample.history, candidates.item_ids))
    return Source(samples, config, template, sets, cases, truths, counts.considered)
