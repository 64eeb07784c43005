"""`teach`: prepared data and a teacher in, an artefact of chain-of-thought data (kind ``cot``) out.

The artefact holds ``stage1.jsonl``, ``stage2.jsonl``, ``stage3.jsonl`` (rows ``instruction``, ``input``, ``output``;
the same samples in the same order in each), ``provenance.jsonl`` (where each sample's answers come from),
``dropped.jsonl`` (samples that were asked about and not kept, and why) and ``manifest.json``.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from recalign.artifacts import MANIFEST_NAME, fingerprint, read_manifest, write_directory
from recalign.data.samples import Sample, SampleSet, to_samples
from recalign.data.teacher_candidates import CandidateSet, user_filtering
from recalign.errors import ArtifactError, Interrupted, TeacherError
from recalign.prompting.template import PromptTemplate
from recalign.teacher.base import Case, Teacher
from recalign.teacher.budget import Estimate, cost
from recalign.teacher.calls import Calls
from recalign.teacher.clock import Clock
from recalign.teacher.config import TeachConfig
from recalign.teacher.estimate import estimate
from recalign.teacher.ledger import Ledger
from recalign.teacher.pipeline import STAGES, Outcome, Pipeline, Questions, TeachProgress, run_to_end
from recalign.teacher.statistics import MISS, Judged, TeachStatistics, summarise

KIND: Final = "cot"
PROVENANCE_FILE: Final = "provenance.jsonl"
DROPPED_FILE: Final = "dropped.jsonl"


def stage_file(stage: int) -> str:
    """Name of the file with the rows of stage 1, 2 or 3."""
    return f"stage{stage}.jsonl"


def ledger_path(output: Path) -> Path:
    """Where the ledger of an output lies unless told otherwise: beside it."""
    return output.with_name(f"{output.name}.ledger.sqlite")


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

    def estimate(self) -> Estimate:
        """What asking about all cases takes."""
        return estimate(self.cases, self.questions)


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
    frame = samples.frame(config.split).filter(pl.col("sample_id").is_in([each.sample_id for each in sets]))
    truths = {sample.sample_id: sample for sample in to_samples(frame)}
    cases = [
        Case(each.sample_id, truths[each.sample_id].user_id, truths[each.sample_id].history, each.item_ids)
        for each in sets
    ]
    return Source(samples, questions, sets, cases, truths, counts.considered)


def teach(
    samples: SampleSet,
    teacher: Teacher,
    config: TeachConfig,
    output: Path,
    *,
    ledger: Path | None = None,
    overwrite: bool = False,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[TeachProgress], None] | None = None,
    clock: Clock | None = None,
) -> TeachStatistics:
    """Ask a teacher about the source samples of `samples` and write what it says as data to tune on.

    Args:
        samples: Prepared data of the source domain.
        teacher: See `recalign.teacher.factory.make_teacher`; it is closed at the end.
        config: Parameters.
        output: The artefact to write.
        ledger: Where paid answers are kept; `ledger_path` if not given. The heuristic teacher has none.
        overwrite: Replace earlier data at `output`.
        announce: Told what is about to happen (the estimate before the first call), line by line.
        progress: Called after each case.
        clock: Time and chance; tests bring their own.

    Raises:
        TeacherError: the teacher refuses or is gone, the budget is used up, or no sample is kept. Answers that had
            come are in the ledger, and the same call continues from there.
        ConfigError, DataError: see `make_source`.
        ArtifactError: `output` exists or cannot be written, or the ledger is in use.
        Interrupted: the user stopped it.
    """
    if not overwrite and output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ArtifactError(f"{output} exists already", hint="Choose another output or pass --overwrite to replace it.")
    source = make_source(samples, config)
    tell = announce or (lambda _: None)
    kept_in = Ledger(ledger or ledger_path(output)) if teacher.ledgered else None
    with kept_in or nullcontext():
        if kept_in is not None:
            for line in (*kept_in.notes, *source.estimate().lines(), f"ledger: {kept_in.count():,} answers"):
                tell(line)
        calls = Calls(teacher, config, kept_in, template=_wording(source), clock=clock or Clock(config.seed))
        teacher.prepare(source.cases)
        outcomes = _run(Pipeline(source.questions, calls, progress), calls, source.cases)
        judged = [_judge(outcome, source, config) for outcome in outcomes]
        statistics = _count(judged, source, calls)
    kept = [outcome for outcome, one in zip(outcomes, judged, strict=True) if not one.reason]
    if not kept:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in statistics.dropped.items())
        raise TeacherError("no sample was kept, so nothing was written", found=reasons, hint="Try --filter valid-only.")
    _write(output, source, teacher, kept, outcomes, judged, statistics, overwrite)
    return statistics


def is_done(samples: SampleSet, config: TeachConfig, output: Path) -> bool:
    """Whether `output` holds what this data and these settings give already.

    Raises:
        ArtifactError: there is something else, or something damaged.
    """
    if not (output / MANIFEST_NAME).exists():
        return False
    manifest = read_manifest(output, kind=KIND)
    same_data = manifest.parents["samples"] == samples.fingerprint
    return same_data and fingerprint(manifest.config["settings"]) == fingerprint(config.content())


def _run(pipeline: Pipeline, calls: Calls, cases: Sequence[Case]) -> list[Outcome]:
    async def run() -> list[Outcome]:
        try:
            return await pipeline.run(cases)
        finally:
            await calls.teacher.close()

    try:
        return run_to_end(run())
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT, "teaching was stopped", saved=calls.ledger is not None) from None


def _judge(outcome: Outcome, source: Source, config: TeachConfig) -> Judged:
    case = outcome.case
    if outcome.reason:
        return Judged(case.user_id, len(case.candidates), None, outcome.reason, outcome.unknown)
    hit = source.truths[case.sample_id].item_id in outcome.recommended
    reason = MISS if config.filter == "hit" and not hit else ""
    return Judged(case.user_id, len(case.candidates), hit, reason, outcome.unknown)


def _count(judged: Sequence[Judged], source: Source, calls: Calls) -> TeachStatistics:
    config, spent = source.questions.config, calls.budget.spent
    return summarise(
        judged,
        considered=source.considered,
        recommend=config.recommend,
        spent=spent,
        cost=cost(spent, config) if calls.ledger else None,
        calls={
            "calls": calls.counts.sent,
            "from_ledger": calls.counts.cached,
            "failed_attempts": dict(sorted(calls.failed.items())),
            "damaged": calls.ledger.damaged if calls.ledger else 0,
        },
    )


def _wording(source: Source) -> dict[str, Any]:
    template = source.questions.template
    digest = hashlib.sha256(template.to_toml().encode("utf-8")).hexdigest()
    return {"template": template.name, "template_version": template.version, "template_sha256": digest}


def _labels_seen(source: Source, teacher: Teacher) -> dict[str, dict[str, Any]]:
    """Labels of each data set (by fingerprint) that went in: targets, and histories where a teacher reads them."""
    config, samples = source.questions.config, source.samples
    labels = source.considered
    if not teacher.ledgered:  # the heuristic teacher reads likes and dislikes of histories; prompts show neither
        read = {(case.user_id, entry.item_id) for case in source.cases for entry in case.history}
        labels = min(labels + len(read), samples.count(config.split))
    return {samples.fingerprint: {"data": samples.path.name, "train": 0, "valid": 0, config.split: labels}}


def _write(
    output: Path,
    source: Source,
    teacher: Teacher,
    kept: Sequence[Outcome],
    outcomes: Sequence[Outcome],
    judged: Sequence[Judged],
    statistics: TeachStatistics,
    overwrite: bool,
) -> None:
    config, questions = source.questions.config, source.questions
    described = {
        "settings": config.content(),
        "teacher": {"name": teacher.name, **teacher.settings},
        **_wording(source),
        "domain": questions.domain.model_dump(),
        "labels_seen": _labels_seen(source, teacher),
    }
    sets = [[each.sample_id, each.item_ids] for each in source.sets]
    candidates = fingerprint({"config": config.candidates, "samples": source.samples.fingerprint, "sets": sets})
    parents = {"samples": source.samples.fingerprint, "candidates": candidates}
    info = {"statistics": statistics, "rows": len(kept), "operation": config.operation()}
    with write_directory(output, KIND, config=described, parents=parents, info=info, overwrite=overwrite) as staging:
        for stage in STAGES:
            _lines(staging / stage_file(stage), [_row(questions, stage, outcome) for outcome in kept])
        _lines(staging / PROVENANCE_FILE, [_provenance(outcome, teacher, config) for outcome in kept])
        dropped = [
            {"sample_id": outcome.case.sample_id, "reason": one.reason}
            for outcome, one in zip(outcomes, judged, strict=True)
            if one.reason
        ]
        _lines(staging / DROPPED_FILE, dropped)


def _row(questions: Questions, stage: int, outcome: Outcome) -> dict[str, Any]:
    row = questions.template.cot(questions.domain, stage, outcome.fields)
    fields = {"instruction": row.instruction, "input": row.input, "output": row.output}
    return {**fields, "sample_id": outcome.case.sample_id}


def _provenance(outcome: Outcome, teacher: Teacher, config: TeachConfig) -> dict[str, Any]:
    return {
        "sample_id": outcome.case.sample_id,
        "teacher": teacher.name,
        "settings": {**teacher.settings, "temperature": config.temperature, "max_tokens": config.max_tokens},
        "stages": [asdict(record) for record in outcome.stages],
    }


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
