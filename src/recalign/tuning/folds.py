"""Selection "k-fold": how many steps a K-shot stage takes is decided within its K samples.

Each fold of them is asked about by a training on the others, every `eval_steps` steps and before the first one. The
number of steps with the best AUC, on average over the folds, is what a training on all K samples keeps. It may be 0:
then the K samples are too few to be learnt from, and the weights of the stage before stay.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from recalign.data.samples import Sample
from recalign.errors import DataError
from recalign.metrics.classification import auc
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import EncodedPrompt
from recalign.scoring.base import sample_lists
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import generator
from recalign.tuning.config import RecStage
from recalign.tuning.loop import LoopResult, Validation
from recalign.tuning.merging import Progress, following
from recalign.tuning.sources import PromptSource
from recalign.tuning.weights import copy_weights, load_weights, trained_weights


class Shots(NamedTuple):
    """Samples of a data set, and how they are asked about."""

    domain: DomainPrompts
    samples: Sequence[Sample]

    @property
    def labels(self) -> list[int]:
        """Whether each sample was liked (1) or not (0)."""
        return [sample.label for sample in self.samples]

    def prompts(self) -> list[EncodedPrompt]:
        """One for each sample."""
        return self.domain.encode(sample_lists(self.samples), self.labels)


class Train(Protocol):
    """Trains the model in place on a source, as `recalign.tuning.loop.train` does."""

    def __call__(
        self,
        name: str,
        source: PromptSource,
        progress: Progress | None,
        *,
        validation: Validation | None = None,
        until: int | None = None,
    ) -> LoopResult:
        """`name` tells this training from the others of the stage."""


def train_by_folds(
    model: nn.Module, shots: Sequence[Shots], config: RecStage, train: Train, progress: Progress | None = None
) -> LoopResult:
    """Choose the number of steps by folds, and train on all samples that long.

    Args:
        model: It is trained in place, and left with the weights of the chosen step.
        shots: The K samples of each data set.
        config: The stage; `folds` and `eval_steps` say what is tried.
        train: How it is trained.
        progress: Told of all trainings as one.

    Returns:
        What came of them: the chosen step (0: none), steps and seconds of all, and the log of the last training, before
        which ``validation`` is the mean AUC of the folds after so many steps.

    Raises:
        DataError: There are fewer liked or disliked samples than folds.
    """
    folds = deal([label for part in shots for label in part.labels], config.folds, config.seed)
    prompts = [prompt for part in shots for prompt in part.prompts()]
    trained = trained_weights(model)
    start = copy_weights(trained)
    done, aucs = LoopResult(0, 0, [], 0.0), defaultdict[int, list[float]](list)
    for fold in range(config.folds):
        load_weights(trained, start)
        value = _held_out_auc(model, shots, folds == fold)
        aucs[0].append(value())
        rest = [prompt for prompt, place in zip(prompts, folds, strict=True) if place != fold]
        validation = Validation(value, config.eval_steps, patience=sys.maxsize)
        source = PromptSource(rest, config.batch_size, config.seed)
        told = following(done, config.folds + 1 - fold, progress)
        result = train(f"fold-{fold}", source, told, validation=validation)
        for entry in result.log:
            if "validation" in entry:
                aucs[int(entry["step"])].append(entry["validation"])
        done = LoopResult(0, done.steps_done + result.steps_done, [], done.seconds + result.seconds)
    means = {step: fmean(values) for step, values in sorted(aucs.items()) if len(values) == config.folds}
    chosen = max(means, key=lambda step: (means[step], -step))
    load_weights(trained, start)
    source = PromptSource(prompts, config.batch_size, config.seed)
    result = train("all", source, following(done, 1, progress), until=chosen)
    log = [{"step": float(step), "validation": mean} for step, mean in means.items()]
    return LoopResult(chosen, done.steps_done + chosen, [*log, *result.log], done.seconds + result.seconds)


def deal(labels: Sequence[int], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each sample, so that all folds have like shares of likes.

    Raises:
        DataError: There are fewer liked or disliked samples than folds.
    """
    answers, rng = np.asarray(labels), generator(seed, "folds")
    dealt = np.zeros(len(answers), dtype=np.int64)
    for answer in (0, 1):
        places = np.flatnonzero(answers == answer)
        if len(places) < folds:
            raise DataError(
                "selection 'k-fold'",
                found=f"{len(places)} {'liked' if answer else 'disliked'} of {len(answers)} samples",
                expected=f"at least one in each of {folds} folds",
                hint="Set fewer folds, more shots, or selection = 'strict-k'",
            )
        dealt[rng.permutation(places)] = np.arange(len(places)) % folds
    return dealt


def _held_out_auc(model: nn.Module, shots: Sequence[Shots], held_out: NDArray[np.bool_]) -> Callable[[], float]:
    """What measures the model on the samples of a fold."""
    asked, labels, begin = [], list[int](), 0
    for domain, samples in shots:
        part = held_out[begin : begin + len(samples)]
        begin += len(samples)
        chosen = [sample for sample, held in zip(samples, part, strict=True) if held]
        labels += [sample.label for sample in chosen]
        asked.append((YesNoScorer(model, domain.encoder, domain.catalog, finder=domain.finder), sample_lists(chosen)))

    def value() -> float:
        measured = auc(labels, np.concatenate([scorer.score(lists).flat() for scorer, lists in asked if lists]))
        assert measured is not None, "each fold has both answers"
        return measured

    return value
