"""One job, done: what a worker process runs. Every kind of work is a call of what the other commands use as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recalign.artifacts import read_manifest, write_file_atomic
from recalign.baselines.artifact import train_baseline
from recalign.baselines.in_context import in_context_scorer
from recalign.cot.teach import teach
from recalign.cot.teachers import make_teacher
from recalign.data.ranking_lists import RankingConfig
from recalign.data.samples import SampleSet, choose_shots
from recalign.errors import ConfigError
from recalign.evaluation.controls import controlled
from recalign.evaluation.evaluate import load_saved
from recalign.evaluation.ranking import freeze, load_task, score_task
from recalign.evaluation.score import log_test_read, score_split
from recalign.evaluation.score_file import ScoreFile
from recalign.experiment.prepare import prepare
from recalign.experiment.progress import Reporter, of_training
from recalign.experiment.store import (
    BaselineWork,
    BuiltBackbone,
    CandidatesWork,
    Job,
    NanoWork,
    PrepareWork,
    ScoreWork,
    Store,
    TeachWork,
    TuneWork,
)
from recalign.models.backbone import load_backbone
from recalign.scoring.base import Scorer
from recalign.tuning.backbones import resolve_backbone
from recalign.tuning.loop import StepReport
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_curriculum


def execute(job: Job, store: Store, reporter: Reporter) -> None:
    """Do a job whose needs are done, and tell of its progress; its output is there afterwards.

    Raises:
        RecalignError: Whatever the work raises.
    """
    target, work = store.path(job.output), job.work
    match work:
        case PrepareWork():
            prepare(work.config.model_copy(update={"output": target}))
        case NanoWork():
            sources, targets = ([store.data(name) for name in names] for names in (work.sources, work.targets))
            progress = of_training(reporter, job.name, work.nano.model_dump(mode="json"))
            built = resolve_backbone(work.backbone, work.nano, sources, targets, progress=progress)
            write_file_atomic(target, BuiltBackbone(directory=Path(built.name)).model_dump_json().encode())
        case TeachWork():
            _teach(job.name, work, store, reporter, target)
        case TuneWork():
            _tune(job.name, work, store, reporter, target)
        case BaselineWork():
            train_baseline(store.data(work.data), work.config, target, text_encoder=work.text_encoder)
        case CandidatesWork():
            freeze(store.data(work.data), RankingConfig(negatives=work.negatives, split=work.split), target)
        case ScoreWork():
            _score(work, store).write(target)


def _teach(name: str, work: TeachWork, store: Store, reporter: Reporter, target: Path) -> None:
    data = store.data(work.data)
    teacher, progress = make_teacher(data, work.config), reporter.task(name, "samples")
    statistics = teach(data, teacher, work.config, target, announce=reporter.note, progress=progress)
    reporter.note(f"{name}: {statistics.kept:,} of {statistics.considered:,} source samples kept")


def _tune(name: str, work: TuneWork, store: Store, reporter: Reporter, target: Path) -> None:
    inputs = StageInputs(
        config=work.config,
        data=[store.data(data) for data in work.data],
        backbone=store.backbone(work.backbone),
        parent=store.path(work.parent) if work.parent else None,
        validation=store.data(work.validation) if work.validation else None,
        unseen=[store.data(data) for data in work.unseen],
        cot=store.path(work.cot) if work.cot else None,
    )

    def progress_for(stage: str) -> Callable[[StepReport], None]:
        shown = stage.replace(target.name, name)  # the store knows it by its key
        return of_training(reporter, shown, work.config.model_dump(mode="json"))

    tune_curriculum(target.name, inputs, target.parent, progress_for=progress_for)


def _score(work: ScoreWork, store: Store) -> ScoreFile:
    data = store.data(work.data)
    model = store.path(work.model) if work.model is not None else None
    if work.zero_shot and model is not None:
        check_zero_shot(model, data)
    if work.control:
        data = controlled(data, work.control, seed=0, splits=[work.split])
    scorer = _scorer(work, data, store)
    if work.candidates:
        scores = score_task(scorer, load_task(store.path(work.candidates), data), seed=work.seed, name=work.label)
        log_test_read(model, scores)
        return scores
    calibrate = False if work.control else None  # a control changes the questions that validation asked
    return score_split(scorer, data, work.split, seed=work.seed, name=work.label, model=model, calibrate=calibrate)


def _scorer(work: ScoreWork, data: SampleSet, store: Store) -> Scorer:
    if work.in_context is None:
        assert work.model is not None
        return load_saved(store.path(work.model), data)
    examples = choose_shots(data.samples("train"), work.demonstrations, work.seed) if work.demonstrations else []
    backbone = load_backbone(store.backbone(work.in_context))
    return in_context_scorer(backbone, data, examples, template=work.template, name=work.label)


def check_zero_shot(model: Path, data: SampleSet) -> None:
    """A model that is shown as zero-shot has seen no label of the data. Raises ConfigError where it has."""
    seen = read_manifest(model, verify=False).config.get("labels_seen", {}).get(data.fingerprint)
    if seen is not None:
        raise ConfigError(
            f"zero-shot row of {data.path.name}",
            found=f"a model that saw {seen['train']} training and {seen['valid']} validation labels of it",
            expected="none",
            hint="Take the stage out of the panel's zero_shot, or train it on other data.",
        )
