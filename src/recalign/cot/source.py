"""What a teacher is asked about: the cases of some samples, and how to ask."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recalign.cot.cases import Case
from recalign.cot.config import TeachConfig
from recalign.cot.pipeline import Questions
from recalign.data.samples import Sample, SampleSet, to_samples
from recalign.data.teacher_candidates import CandidateSet, user_filtering
from recalign.errors import TeacherError
from recalign.prompting.template import PromptTemplate


@dataclass(frozen=True)
class Source:
    """What is asked about: cases, their samples (with the truths, which no teacher sees), and how to ask.

    Attributes:
        samples: The prepared data.
        questions: Renders questions and rows.
        sets: Candidate sets.
        cases: One per set, in order.
        truths: Sample by sample id.
        considered: Positive samples that sets were made for.
    """

    samples: SampleSet
    questions: Questions
    sets: list[CandidateSet]
    cases: list[Case]
    truths: dict[str, Sample]
    considered: int


def make_source(samples: SampleSet, config: TeachConfig) -> Source:
    """Candidate sets and cases of the source samples that `config` names.

    Raises:
        ConfigError: the template is no chain-of-thought template, or lacks the domain's language.
        DataError: the split has no positive sample.
        TeacherError: no candidate set contains its sample's truth.
    """
    questions = Questions(samples.catalog, samples.domain, PromptTemplate.load(config.template), config)
    sets, counts = user_filtering(samples, config.candidates)
    if not sets:
        raise TeacherError(
            f"nothing to ask about in {samples.path}",
            found=f"no candidate set with its truth among {counts.considered:,} source samples",
            hint="Raise --limit, or use data with more users.",
        )
    frame = samples.frame(config.split).filter(pl.col("sample_id").is_in([candidates.sample_id for candidates in sets]))
    truths = {sample.sample_id: sample for sample in to_samples(frame)}
    cases = [
        Case(sample.sample_id, sample.user_id, sample.history, candidates.item_ids)
        for candidates in sets
        for sample in (truths[candidates.sample_id],)
    ]
    return Source(samples, questions, sets, cases, truths, counts.considered)
