"""Which step is kept: the value that validation maximises, by selection rule.

* ``last`` and ``strict-k``: no validation; the K samples and the source decide by the schedule alone.
* ``k-fold``: folds of the K samples say how many steps are taken, see `recalign.tuning.folds`.
* ``source``: AUC on held-out source users. Nothing of a target is read.
* ``paper``: AUC on the target's validation split, as both papers select (1,000 labelled samples, so not few-shot).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from torch import nn

from recalign.data.samples import CandidateList, SampleSet, to_samples
from recalign.errors import ConfigError, DataError
from recalign.metrics.classification import auc
from recalign.prompting.asking import DomainPrompts
from recalign.scoring.base import sample_lists
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import generator
from recalign.tuning.config import RecStage
from recalign.tuning.loop import Validation
from recalign.tuning.provenance import StageInputs
from recalign.tuning.sources import holdout_users, lay_out, user_sequences

_Labelled = tuple[list[CandidateList], list[int]]  # candidate lists, and the labels of all their items in order


def validation(
    inputs: StageInputs, domains: Sequence[DomainPrompts], target: DomainPrompts | None, model: nn.Module
) -> Validation | None:
    """What selection maximises over the steps of `model`, or None where the last step is kept.

    `domains` and `target` are the prompts of each training data set and of the validation data set of `inputs`.

    Raises:
        ConfigError: Selection "paper" without a target data set.
        DataError: The validation samples are of one class.
    """
    config = inputs.config
    if not isinstance(config, RecStage) or config.selection in ("last", "strict-k", "k-fold"):
        return None
    if config.selection == "paper":
        if inputs.validation is None or target is None:
            raise ConfigError("selection 'paper'", found="no validation data", expected="the target data set")
        parts = [(target, _samples(inputs.validation.frame("valid"), config))]
    else:
        parts = [(domain, held_out_lists(config, data)) for data, domain in zip(inputs.data, domains, strict=True)]
    for _, (_, labels) in parts:
        if len(set(labels)) < 2:
            raise DataError(
                "validation samples of the stage",
                found=f"{len(labels)} of one class" if labels else "none",
                expected="liked and disliked ones",
                hint="Set a larger holdout or max_eval_samples, or selection = 'last'",
            )
    scorers = [
        (YesNoScorer(model, domain.encoder, domain.catalog, finder=domain.finder), *part) for domain, part in parts
    ]

    def mean_auc() -> float:
        values = []
        for scorer, lists, labels in scorers:
            value = auc(labels, scorer.score(lists).flat())
            assert value is not None, "both classes were seen above"
            values.append(value)
        return sum(values) / len(values)

    return Validation(mean_auc, every=config.eval_steps, patience=config.patience)


def held_out_lists(config: RecStage, data: SampleSet) -> _Labelled:
    """What is asked of held-out users. Nothing of the test split is, because nothing is selected on it.

    Where the stage trains on several targets per history, several are asked here too, in order of time. A user's
    history is then computed once for many targets.
    """
    users = holdout_users(data.frame("train")["user_id"].unique().to_list(), config.holdout, config.seed)
    rows = data.frame().filter(pl.col("user_id").is_in(list(users)) & (pl.col("split") != "test"))
    if config.sampling.targets_per_history == 1:
        return _samples(rows, config)
    layout = config.sampling.model_copy(update={"random_fraction": 0.0, "short_fraction": 0.0})
    rng = generator(config.seed, "validation")
    blocks = [block for user in user_sequences(rows) if len(user.entries) > 1 for block in lay_out(user, layout, rng)]
    lists: list[CandidateList] = []
    labels: list[int] = []
    for index in rng.permutation(len(blocks)):
        if len(labels) >= config.max_eval_samples:
            break
        lists.append(blocks[index].asked())
        labels += [int(entry.liked) for entry in blocks[index].targets]
    return lists, labels


def _samples(rows: pl.DataFrame, config: RecStage) -> _Labelled:
    """A seeded subset of prepared samples, one target each."""
    samples = to_samples(rows)
    order = generator(config.seed, "validation").permutation(len(samples))[: config.max_eval_samples]
    chosen = [samples[index] for index in sorted(order)]
    return sample_lists(chosen), [sample.label for sample in chosen]
