"""What is left of an experiment and what it will cost, before anything is run.

A job that costs about what finished ones did (another seed or fold of the same settings, in this store) is estimated by
their mean. Where there is none, a language model's job is estimated from its operations and the speed of this machine's
matrix products, and anything else by a second or two: the table says which is which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np

from recalign.experiment.store import BaselineWork, Job, NanoWork, Store, TuneWork
from recalign.models.config import NanoConfig
from recalign.tuning.backbones import NANO
from recalign.tuning.config import RecStage

_PROMPT_TOKENS: Final = 200  # of a history of ten with one target; targets that share a history add about 25
_TARGET_TOKENS: Final = 25
_SECONDS: Final[dict[str, float]] = {"prepare": 2.0, "teach": 20.0, "candidates": 1.0, "score": 5.0, "baseline": 20.0}


@dataclass
class CostEstimate:
    """Counts and CPU seconds by kind of work.

    Attributes:
        done: Jobs that are there already.
        measured: Jobs to run whose cost is known from finished ones, and that cost.
        guessed: Jobs to run whose cost is guessed, and the guess.
        unknown: Jobs on backbones whose size is not known before they are loaded.
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
            lines.append(f"and {self.unknown} jobs on backbones whose size is known only once they are loaded")
        return lines


def estimate_cost(jobs: Mapping[str, Job], store: Store) -> CostEstimate:
    """What running `jobs` would cost."""
    known = store.costs_by_shape()
    result = CostEstimate()
    speed = cache(matrix_speed)
    shapes = {job.output: job.work.nano for job in jobs.values() if isinstance(job.work, NanoWork)}
    for job in jobs.values():
        kind = job.work.kind
        if store.is_done(job):
            result.done[kind] = result.done.get(kind, 0) + 1
            continue
        kinds = result.measured if job.shape in known else result.guessed
        seconds = known[job.shape] if job.shape in known else _guess(job, shapes, speed)
        if seconds is None:
            result.unknown += 1
            continue
        count, total = kinds.get(kind, (0, 0.0))
        kinds[kind] = count + 1, total + seconds
    return result


def _guess(job: Job, shapes: Mapping[str, NanoConfig], speed: Callable[[], float]) -> float | None:
    """CPU seconds; None where the backbone's size is not known."""
    work = job.work
    if isinstance(work, NanoWork):
        return 6 * parameters(work.nano) * work.nano.batch_tokens * work.nano.steps / speed()
    if isinstance(work, BaselineWork):
        return _SECONDS["baseline"] * (20 if work.config.text else 1)
    if not isinstance(work, TuneWork):
        return _SECONDS[work.kind]
    if work.backbone.config.name != NANO or work.backbone.built is None:
        return None
    config = work.config
    shared = config.sampling.targets_per_history if isinstance(config, RecStage) else 1
    tokens = config.batch_size * (_PROMPT_TOKENS / shared + (_TARGET_TOKENS if shared > 1 else 0))
    steps = config.max_steps or 100
    return 5 + 6 * parameters(shapes[work.backbone.built]) * tokens * steps / speed()


def parameters(nano: NanoConfig) -> int:
    """Parameters of the embedded backbone that take part in products, about."""
    layer = 4 * nano.hidden**2 + 3 * nano.hidden * nano.intermediate
    return nano.layers * layer + nano.vocabulary * nano.hidden


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
