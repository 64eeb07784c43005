"""One model from several trainings of a stage: they begin with the same weights and end in an average of theirs.

The trainings differ in their draws alone (order of the samples, dropout), so that the average loses what each of them
learnt by chance. (Uniform "model soup": Wortsman et al., ICML 2022, Section 2.) No pass is added when the model scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from recalign.seeding import derive_seed
from recalign.tuning.checkpoint import LogEntry
from recalign.tuning.loop import LoopResult, StepReport
from recalign.tuning.weights import add_to_mean, copy_weights, load_weights, trained_weights

Progress = Callable[[StepReport], None]


def draw_seed(seed: int, number: int) -> int:
    """Seed of the draws of training `number` (from 0) of a stage: the first one has the stage's own."""
    return derive_seed(seed, "merge", number) if number else seed


def train_merged(
    model: nn.Module,
    trainings: int,
    train: Callable[[int, Progress | None], LoopResult],
    progress: Progress | None = None,
) -> LoopResult:
    """Train `model` several times, each time from the weights that it has now, and leave it with the mean of them all.

    Args:
        model: Its parameters that require a gradient are trained and averaged.
        trainings: How many, from 1.
        train: Trains the model in place; it is given the number of the training and whom to tell after each step.
        progress: Told of all trainings as one, with one log.

    Returns:
        Steps and seconds of all of them, the step that the first one kept, and one log, where the steps of a training
        follow those of the one before it.
    """
    if trainings == 1:
        return train(0, progress)
    trained = trained_weights(model)
    start = copy_weights(trained)
    mean = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    done = LoopResult(0, 0, [], 0.0)
    for number in range(trainings):
        load_weights(trained, start)
        result = train(number, following(done, trainings - number, progress))
        add_to_mean(mean, trained, number + 1)
        done = LoopResult(
            done.kept_step or result.kept_step,
            done.steps_done + result.steps_done,
            [*done.log, *later(result.log, done.steps_done)],
            done.seconds + result.seconds,
        )
    load_weights(trained, mean)
    return done


def following(done: LoopResult, left: int, progress: Progress | None) -> Progress | None:
    """Progress of a training as that of all, of which so much is done and so many, with this one, are left."""
    if progress is None:
        return None

    def tell(report: StepReport) -> None:
        log = [*done.log, *later(report.log, done.steps_done)]
        step, steps = report.step + done.steps_done, report.steps * left + done.steps_done
        progress(replace(report, step=step, steps=steps, log=log))

    return tell


def later(log: Sequence[LogEntry], steps: int) -> list[LogEntry]:
    """The log of a training that came after so many steps of others."""
    return [{**entry, "step": entry["step"] + steps} for entry in log]
