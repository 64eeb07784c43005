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
from recalign.experiment.jobs import (
    BackboneRef,
    BaselineWork,
    CandidatesWork,
    Job,
    NanoWork,
    PrepareWork,
    ScoreWork,
    TeachWork,
    TuneWork,
)
from recalign.experiment.prepare import prepare
from recalign.experiment.progress import Reporter, of_steps
from recalign.experiment.store import BuiltBackbone, Store
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
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
    _Execution(job, store, reporter).run()


class _Execution:
    def __init__(self, job: Job, store: Store, reporter: Reporter) -> None:
        self.job, self.store, self.reporter = job, store, reporter

    def run(self) -> None:
        target, work = self.store.path(self.job.output), self.job.work
        match work:
            case PrepareWork():
                prepare(work.config.model_copy(update={"output": target}))
            case NanoWork():
                self._nano(work, target)
            case TeachWork():
                self._teach(work, target)
            case TuneWork():
                self._tune(work, target)
            case BaselineWork():
                train_baseline(self._data(work.data), work.config, target, text_encoder=work.text_encoder)
            case CandidatesWork():
                config = RankingConfig(negatives=work.negatives, split=work.split)
                freeze(self._data(work.data), config, target)
            case ScoreWork():
                self._score(work, target)

    def _data(self, output: str) -> SampleSet:
        return SampleSet.load(self.store.path(output))

    def _backbone(self, ref: BackboneRef) -> BackboneConfig:
        if ref.built is None:
            return ref.config
        return ref.config.model_copy(update={"name": str(self.store.backbone(ref.built))})

    def _nano(self, work: NanoWork, target: Path) -> None:
        sources, targets = [self._data(name) for name in work.sources], [self._data(name) for name in work.targets]
        built = resolve_backbone(work.backbone, work.nano, sources, targets, progress=self._steps(self.job.name))
        write_file_atomic(target, BuiltBackbone(directory=Path(built.name)).model_dump_json().encode())

    def _steps(self, name: str) -> Callable[[StepReport], None]:
        """A progress callback for a training loop."""
        return of_steps(self.reporter.task(name))

    def _teach(self, work: TeachWork, target: Path) -> None:
        data = self._data(work.data)
        progress = self.reporter.task(self.job.name, "samples")
        teacher = make_teacher(data, work.config)
        statistics = teach(data, teacher, work.config, target, announce=self.reporter.note, progress=progress)
        self.reporter.note(f"{self.job.name}: {statistics.kept:,} of {statistics.considered:,} source samples kept")

    def _tune(self, work: TuneWork, target: Path) -> None:
        inputs = StageInputs(
            config=work.config,
            data=[self._data(name) for name in work.data],
            backbone=self._backbone(work.backbone),
            parent=self.store.path(work.parent) if work.parent else None,
            validation=self._data(work.validation) if work.validation else None,
            unseen=[self._data(name) for name in work.unseen],
            cot=self.store.path(work.cot) if work.cot else None,
        )
        name, shown = target.name, self.job.name  # the store knows it by its key
        tune_curriculum(name, inputs, target.parent, progress_for=lambda stage: self._steps(stage.replace(name, shown)))

    def _score(self, work: ScoreWork, target: Path) -> None:
        data = self._data(work.data)
        if work.zero_shot and work.model is not None:
            check_zero_shot(self.store.path(work.model), data)
        if work.control:
            data = controlled(data, work.control, seed=0, splits=[work.split])
        scorer = self._scorer(work, data)
        model = self.store.path(work.model) if work.model is not None else None
        if work.candidates:
            task = load_task(self.store.path(work.candidates), data)
            scores = score_task(scorer, task, seed=work.seed, name=work.label)
            log_test_read(model, scores)
        else:
            calibrate = False if work.control else None  # a control changes the questions that validation asked
            scores = score_split(
                scorer, data, work.split, seed=work.seed, name=work.label, model=model, calibrate=calibrate
            )
        scores.write(target)

    def _scorer(self, work: ScoreWork, data: SampleSet) -> Scorer:
        if work.in_context is None:
            assert work.model is not None
            return load_saved(self.store.path(work.model), data)
        examples = choose_shots(data.samples("train"), work.demonstrations, work.seed) if work.demonstrations else []
        return in_context_scorer(load_backbone(self._backbone(work.in_context)), data, examples, name=work.label)


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
