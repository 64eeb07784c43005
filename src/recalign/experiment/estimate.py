"""What is left of an experiment and what it will cost, before anything is run.

A job that costs about what finished ones did (another seed or fold of the same settings, in this store, on a machine
like this one) is estimated by their mean. Where there is none, a language model's job is estimated from its operations
and the speed of this machine's matrix products, and anything else by a second or two: the table says which is which.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import safe_open

from recalign.experiment.store import (
    BackboneRef,
    BaselineWork,
    CandidatesWork,
    Job,
    NanoWork,
    ScoreWork,
    Store,
    TeachWork,
    TuneWork,
)
from recalign.experiment.worker import machine_kind
from recalign.models.config import NanoConfig
from recalign.models.hf_checkpoint import find_local
from recalign.tuning.config import CotStage, InstructionStage, RecStage, StageConfig

_PROMPT_TOKENS: Final = 200  # of a history of ten with one target; targets that share a history add about 25
_TARGET_TOKENS: Final = 25
_SAMPLES: Final = 1000  # of a split that is not prepared yet
_LOOKED_UP: Final = re.compile(r"embed|lm_head|\bwte\b|\bwpe\b")
_SECONDS: Final[dict[str, float]] = {"prepare": 2.0, "teach": 20.0, "candidates": 1.0, "score": 5.0, "baseline": 20.0}


@dataclass
class CostEstimate:
    """Counts and CPU seconds by kind of work.

    Attributes:
        done: Jobs that are there already.
        measured: Jobs to run whose cost is known from finished ones, and that cost.
        guessed: Jobs to run whose cost is guessed, and the guess.
        unknown: Jobs on backbones that are not on this machine.
    """

    done: dict[str, int] = field(default_factory=dict)
    measured: dict[str, tuple[int, float]] = field(default_factory=dict)
    guessed: dict[str, tuple[int, float]] = field(default_factory=dict)
    unknown: int = 0

    @property
    def cpu_hours(self) -> float:
        """Of all jobs to run whose cost is known or guessed."""
        return sum(cost for kinds in (self.measured, self.guessed) for _, cost in kinds.values()) / 3600

    def lines(self) -> list[str]:
        """The estimate as text, a line per kind of work."""
        kinds = sorted({*self.done, *self.measured, *self.guessed})
        lines = [f"{'work':12}{'done':>7}{'to run':>8}{'CPU min':>10}  basis"]
        for kind in kinds:
            known, guess = self.measured.get(kind, (0, 0.0)), self.guessed.get(kind, (0, 0.0))
            basis = [f"{known[0]} like finished ones" if known[0] else "", f"{guess[0]} guessed" if guess[0] else ""]
            cost = (known[1] + guess[1]) / 60
            text = ", ".join(part for part in basis if part)
            lines.append(f"{kind:12}{self.done.get(kind, 0):>7}{known[0] + guess[0]:>8}{cost:>10.1f}  {text}".rstrip())
        lines.append(f"estimated: {self.cpu_hours:.2f} CPU-hours")
        if self.unknown:
            lines.append(f"and {self.unknown} jobs on backbones that are not on this machine")
        return lines


def estimate_cost(jobs: Mapping[str, Job], store: Store) -> CostEstimate:
    """What running `jobs` would cost."""
    known = store.costs_by_shape(machine_kind())
    result = CostEstimate()
    guess = _Guess(jobs, store)
    for job in jobs.values():
        kind = job.work.kind
        if store.is_done(job):
            result.done[kind] = result.done.get(kind, 0) + 1
            continue
        kinds = result.measured if job.shape in known else result.guessed
        seconds = known[job.shape] if job.shape in known else guess.seconds(job)
        if seconds is None:
            result.unknown += 1
            continue
        count, total = kinds.get(kind, (0, 0.0))
        kinds[kind] = count + 1, total + seconds
    return result


class _Guess:
    """CPU seconds of jobs that no finished one is like, from operations and the speed of this machine's products."""

    def __init__(self, jobs: Mapping[str, Job], store: Store) -> None:
        self._store = store
        self._works = {job.output: job.work for job in jobs.values()}
        self._speed = cache(matrix_speed)
        self._size = cache(self._parameters)

    def seconds(self, job: Job) -> float | None:
        """Of one job; None where the backbone's size is not known."""
        match job.work:
            case NanoWork() as work:
                return nano_operations(work.nano) / self._speed()
            case BaselineWork() as work:
                return _SECONDS["baseline"] * (20 if work.config.text else 1)
            case TuneWork() as work:
                size = self._size(work.backbone)
                if size is None:
                    return None
                return 5 + tuning_operations(work.config, size, self._rows(work)) / self._speed()
            case ScoreWork() as work if (backbone := self._scored_backbone(work)) is not None:
                size = self._size(backbone)
                return None if size is None else 5 + 2 * size * self._scored_tokens(work) / self._speed()
            case work:
                return _SECONDS[work.kind]

    def _parameters(self, backbone: BackboneRef) -> int | None:
        if backbone.built is None:
            directory = find_local(backbone.config.name, backbone.config.revision)
            return None if directory is None else checkpoint_parameters(directory)
        built = self._works[backbone.built]
        assert isinstance(built, NanoWork)
        return parameters(built.nano)

    def _rows(self, work: TuneWork) -> float:
        """Prompts of an epoch of a stage."""
        match work.config:
            case InstructionStage() as config:
                return config.instructions * len(work.data)
            case CotStage():
                teacher = self._works.get(work.cot or "")
                return 3 * (teacher.config.limit or _SAMPLES) if isinstance(teacher, TeachWork) else 3 * _SAMPLES
            case RecStage() as config:
                return config.shots or sum(self._samples(data, "train") for data in work.data)

    def _scored_backbone(self, work: ScoreWork) -> BackboneRef | None:
        """The language model that scores; None for a baseline."""
        tuned = self._works.get(work.model or "")
        return work.in_context or (tuned.backbone if isinstance(tuned, TuneWork) else None)

    def _scored_tokens(self, work: ScoreWork) -> float:
        lists = self._works.get(work.candidates or "")
        negatives = lists.negatives if isinstance(lists, CandidatesWork) else 0
        per_sample = _PROMPT_TOKENS * (1 + work.demonstrations) + _TARGET_TOKENS * negatives
        return per_sample * self._samples(work.data, work.split)

    def _samples(self, data: str, split: str) -> int:
        """Samples of a split: counted where the data is prepared already."""
        path = self._store.path(data)
        return self._store.data(data).count(split) if path.is_dir() else _SAMPLES


def nano_operations(nano: NanoConfig, vocabulary: int | None = None) -> float:
    """Operations of the pretraining of nano, about; a small catalogue may fill less than the `vocabulary` asked for."""
    head = nano.hidden * (vocabulary or nano.vocabulary)
    return 6.0 * (parameters(nano) + head) * nano.batch_tokens * nano.steps


def tuning_operations(
    config: StageConfig, size: int, rows: float, history: float = _PROMPT_TOKENS, target: float = _TARGET_TOKENS
) -> float:
    """Operations of a stage on a backbone of `size` parameters, about.

    Args:
        config: The stage.
        size: Parameters that take part in products at every token.
        rows: Prompts of an epoch.
        history, target: Tokens of a prompt with one target, and of one more target after the same history.
    """
    shared = config.sampling.targets_per_history if isinstance(config, RecStage) else 1
    per_prompt = history / shared + (target if shared > 1 else 0)
    steps = config.max_steps or max(1.0, config.epochs * rows / config.batch_size)
    # A frozen weight has no gradient of its own, but what is before it needs one through it.
    return (6 if config.mode == "full" else 4) * size * per_prompt * config.batch_size * steps * config.trainings


def checkpoint_parameters(directory: Path) -> int:
    """Parameters of a checkpoint that take part in products at every token, from the headers of its files.

    Embeddings are looked up, and the head is asked at the answers only.
    """
    count = 0
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                shape = tensors.get_slice(name).get_shape()
                if len(shape) > 1 and not _LOOKED_UP.search(name):
                    count += math.prod(shape)
    return count


def parameters(nano: NanoConfig) -> int:
    """Parameters of the embedded backbone that take part in products at every token, as `checkpoint_parameters`."""
    return nano.layers * (4 * nano.hidden**2 + 3 * nano.hidden * nano.intermediate)


def matrix_speed(size: int = 1024, repeats: int = 4) -> float:
    """Operations per CPU second of this machine's float32 matrix product.

    Training in bfloat16 has faster products but does more than products, so it is taken to be as fast.
    """
    matrix = np.ones((size, size), dtype=np.float32)
    matrix @ matrix
    started = time.process_time()
    for _ in range(repeats):
        matrix @ matrix
    return 2.0 * size**3 * repeats / max(time.process_time() - started, 1e-6)
