"""`teach`: prepared data and a teacher in, an artefact of chain-of-thought data (kind ``cot``) out.

The artefact holds ``stage1.jsonl`` to ``stage3.jsonl`` (rows ``instruction``, ``input``, ``output``; the same samples
in each), ``provenance.jsonl`` (where answers come from), ``dropped.jsonl`` (what was not kept, and why), a manifest.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from recalign.artifacts import find_finished, fingerprint, write_directory
from recalign.cot.answers import CaseAnswers, answer_case
from recalign.cot.cases import STEPS, CotTeacher, Preparing, Source, make_source
from recalign.cot.config import TeachConfig
from recalign.cot.estimate import estimate
from recalign.cot.statistics import MISS, TeacherOutcome, TeachStatistics, count_outcomes
from recalign.data.samples import SampleSet
from recalign.errors import Interrupted, TeacherError
from recalign.llm.asking import run_to_end, work_through
from recalign.llm.calls import Calls, Clock
from recalign.llm.ledger import Ledger, ledger_path
from recalign.prompting.template import PromptTemplate

KIND: Final = "cot"


def stage_file(step: int) -> str:
    """Name of the file with the rows of step 1, 2 or 3."""
    return f"stage{step}.jsonl"


def teach(
    samples: SampleSet,
    teacher: CotTeacher,
    config: TeachConfig,
    output: Path,
    *,
    ledger: Path | None = None,
    overwrite: bool = False,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, facts: None,
    clock: Clock | None = None,
) -> TeachStatistics:
    """Ask a teacher about source samples and write what it says as data to tune on. Then the teacher is closed.

    Where the same data and settings have written it before (`find_taught`), nobody is asked.

    Paid answers are kept in `ledger` (by default `ledger_path`). `announce` is told what is about to happen, line by
    line, the estimate before the first call; for `progress` see `recalign.llm.asking.work_through`.

    Raises:
        TeacherError: The teacher refuses or is gone, the budget is used up, or no sample is kept. Answers that had
            come are in the ledger, and the same call continues from there.
        ConfigError, DataError: See `recalign.cot.cases.make_source`.
        ArtifactError: `output` holds something else or cannot be written, or the ledger is in use.
        Interrupted: The user stopped it.
    """
    if done := find_taught(samples, config, output, overwrite=overwrite):
        run_to_end(teacher.close())
        return done
    source = make_source(samples, config)
    kept_in = Ledger(ledger or ledger_path(output)) if teacher.ledgered else None
    with kept_in or nullcontext():
        if kept_in is not None:
            for line in (*kept_in.notes, *estimate(source).lines(), f"ledger: {kept_in.count():,} answers"):
                announce(line)
        calls = Calls(teacher, config, kept_in, template=_wording(source.template), clock=clock or Clock(config.seed))
        if isinstance(teacher, Preparing):
            teacher.prepare(source.cases)
        try:
            work = partial(answer_case, source=source, calls=calls)
            answers = work_through(source.cases, work, calls, progress)
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT, "teaching was stopped", saved=kept_in is not None) from None
        outcomes = [_outcome(case, source) for case in answers]
        statistics = count_outcomes(outcomes, source.considered, config.recommend, calls)
    if not statistics.kept:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in statistics.dropped.items())
        other = "Try another --teacher, or longer answers: --set max_tokens=1024."
        hint = "Try --filter valid-only." if MISS in statistics.dropped else other
        raise TeacherError("no sample was kept, so nothing was written", found=reasons, hint=hint)
    _write(output, source, teacher, list(zip(answers, outcomes, strict=True)), statistics, overwrite)
    return statistics


def find_taught(
    samples: SampleSet, config: TeachConfig, output: Path, *, overwrite: bool = False
) -> TeachStatistics | None:
    """What came of it, where `output` holds what this data and these settings give already; else None.

    Raises:
        ConfigError: There is no such template.
        ArtifactError: There is something else and it is not to be replaced, or something damaged.
    """
    described = {"settings": config.content(), **_wording(PromptTemplate.load(config.template))}
    again = {"retry_rejected": None} if config.retry_rejected else {}  # what is to be asked again is not done
    done = find_finished(
        output, KIND, config=described, parents={"samples": samples.fingerprint}, derived=("candidates",),
        info=again, replace=overwrite,
    )  # fmt: skip
    return None if done is None else TeachStatistics.model_validate(done.info["statistics"])


def _outcome(answers: CaseAnswers, source: Source) -> TeacherOutcome:
    case, hit, reason = answers.case, None, answers.reason
    if not reason:
        hit = source.truths[case.sample_id].item_id in answers.recommended
        reason = MISS if source.config.filter == "hit" and not hit else ""
    return TeacherOutcome(case.user_id, len(case.candidates), hit, reason, answers.unknown)


def _wording(template: PromptTemplate) -> dict[str, object]:
    digest = hashlib.sha256(template.to_toml().encode("utf-8")).hexdigest()
    return {"template": template.name, "template_version": template.version, "template_sha256": digest}


def _labels_seen(source: Source, teacher: CotTeacher) -> dict[str, dict[str, str | int]]:
    """Labels of each data set (by fingerprint) that went in: targets, and histories where a teacher reads them."""
    split, samples, labels = source.config.split, source.samples, source.considered
    if not teacher.ledgered:  # the heuristic teacher reads likes and dislikes of histories; prompts show neither
        read = {(case.user_id, entry.item_id) for case in source.cases for entry in case.history}
        labels = min(labels + len(read), samples.count(split))
    return {samples.fingerprint: {"data": samples.path.name, "train": 0, "valid": 0, split: labels}}


def _write(
    output: Path,
    source: Source,
    teacher: CotTeacher,
    asked: Sequence[tuple[CaseAnswers, TeacherOutcome]],
    statistics: TeachStatistics,
    overwrite: bool,
) -> None:
    config, data = source.config, source.samples.fingerprint
    kept = [answers for answers, outcome in asked if not outcome.reason]
    described = {
        "settings": config.content(),
        "teacher": {"name": teacher.name, **teacher.settings},
        **_wording(source.template),
        "domain": source.domain.model_dump(),
        "labels_seen": _labels_seen(source, teacher),
    }
    sets = [[candidates.sample_id, candidates.item_ids] for candidates in source.sets]
    candidates = fingerprint({"config": config.candidates, "samples": data, "sets": sets})
    parents = {"samples": data, "candidates": candidates}
    info = {"statistics": statistics, "rows": len(kept), "operation": config.operation()}
    asked_with = {**teacher.settings, "temperature": config.temperature, "max_tokens": config.max_tokens}
    origin = {"teacher": teacher.name, "settings": asked_with}
    with write_directory(output, KIND, config=described, parents=parents, info=info, overwrite=overwrite) as staging:
        for step in STEPS:
            rows = [source.template.cot(source.domain, step, answers.fields) for answers in kept]
            _write_lines(
                staging / stage_file(step),
                ({**asdict(row), "sample_id": answers.case.sample_id} for row, answers in zip(rows, kept, strict=True)),
            )
        _write_lines(
            staging / "provenance.jsonl",
            ({"sample_id": answers.case.sample_id, **origin, "stages": answers.steps} for answers in kept),
        )
        dropped = ((answers.case.sample_id, outcome.reason) for answers, outcome in asked if outcome.reason)
        _write_lines(staging / "dropped.jsonl", ({"sample_id": id_, "reason": reason} for id_, reason in dropped))


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
