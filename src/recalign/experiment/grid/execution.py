"""One job, done: what a worker process runs. Every kind of work is a call of what the other commands use as well."""

from __future__ import annotations

import json
from pathlib import Path

from recalign.artifacts import read_manifest, write_file_atomic
from recalign.baselines.artifact import train_baseline
from recalign.baselines.in_context import in_context_scorer
from recalign.cot.teach import teach
from recalign.cot.teachers import make_teacher
from recalign.data.ranking_lists import RankingConfig
from recalign.data.samples import SampleSet
from recalign.data.shots import choose_shots
from recalign.errors import ConfigError
from recalign.experiment.controls import controlled
from recalign.experiment.evaluation import log_test_read
from recalign.experiment.grid.jobs import (
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
from recalign.experiment.grid.store import Store
from recalign.experiment.prepare import prepare
from recalign.experiment.ranking import freeze, load_task, score_task
from recalign.experiment.saved import load_saved
from recalign.experiment.score_file import score_split
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.scoring.base import Scorer
from recalign.tuning.backbones import resolve_backbone
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_curriculum


def execute(job: Job, store: Store) -> None:
    """Do a job whose needs are done; its output is there afterwards.

    Raises:
        RecalignError: Whatever the work raises.
    """
    _Execution(store).run(job)


class _Execution:
    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self, job: Job) -> None:
        target, work = self.store.path(job.output), job.work
        match work:
            case PrepareWork():
                prepare(work.config.model_copy(update={"output": target}))
            case NanoWork():
                self._nano(work, target)
            case TeachWork():
                data = self._data(work.data)
                teach(data, make_teacher(data, work.config), work.config, target)
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
        built = json.loads(self.store.path(ref.built).read_text(encoding="utf-8"))
        return ref.config.model_copy(update={"name": built["directory"]})

    def _nano(self, work: NanoWork, target: Path) -> None:
        sources, targets = [self._data(each) for each in work.sources], [self._data(each) for each in work.targets]
        built = resolve_backbone(work.backbone, work.nano, sources, targets)
        write_file_atomic(target, json.dumps({"directory": built.name}).encode())

    def _tune(self, work: TuneWork, target: Path) -> None:
        inputs = StageInputs(
            config=work.config,
            data=[self._data(each) for each in work.data],
            backbone=self._backbone(work.backbone),
            parent=self.store.path(work.parent) if work.parent else None,
            validation=self._data(work.validation) if work.validation else None,
            unseen=[self._data(each) for each in work.unseen],
            cot=self.store.path(work.cot) if work.cot else None,
        )
        tune_curriculum(target.name, inputs, target.parent)

    def _score(self, work: ScoreWork, target: Path) -> None:
        data = self._data(work.data)
        if work.zero_shot and work.model is not None:
            check_zero_shot(self.store.path(work.model), data)
        if work.control:
            data = controlled(data, work.control, seed=0, splits=[work.split])
        scorer = self._scorer(work, data)
        if work.candidates:
            task = load_task(self.store.path(work.candidates), data)
            scores = score_task(scorer, task, seed=work.seed, name=work.label)
        else:
            scores = score_split(scorer, data, work.split, seed=work.seed, name=work.label)
        if work.model is not None:
            log_test_read(self.store.path(work.model), scores)
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
