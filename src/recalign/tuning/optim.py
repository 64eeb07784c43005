"""What an optimizer step is made of: the loss, AdamW with its schedule, and weight averaging.

Both papers train on the answer tokens alone (their Eq. 1). The mean is over all answer tokens of the step, however the
step is cut into micro-batches, and a token shared by several prompts counts once for each of them: the gradient is that
of separate prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recalign.errors import ArtifactError, ModelError
from recalign.models.forward import logits_at
from recalign.prompting.encoding import IGNORE
from recalign.prompting.packing import Forest, Tree, forests, pack, split
from recalign.tuning.config import OptimConfig, TrainingConfig
from recalign.tuning.ranking_losses import RankingSums, first_answers, ranking_counts, ranking_sums


class Losses(NamedTuple):
    """What a forest adds to the mean losses of a step: of answer tokens, of other tokens, of pairs and of lists."""

    answers: Tensor
    others: Tensor
    pairs: Tensor
    lists: Tensor

    def weighted(self, config: TrainingConfig) -> Tensor:
        """Their sum with the weights of `config`."""
        ranking = config.pair_weight * self.pairs + config.list_weight * self.lists
        return self.answers + config.lm_weight * self.others + ranking


class Weights(NamedTuple):
    """Denominators of the mean losses: weights of answer tokens and of other tokens, pairs, prompts in lists."""

    answers: float
    others: float
    pairs: float
    lists: float


@dataclass(frozen=True, slots=True)
class StepForests:
    """The packed prompts of one optimizer step.

    Attributes:
        forests: One per micro-batch.
        others: Per forest a bool array: tokens outside the answers that bear the language-model loss.
        weights: What the losses are divided by, summed over all forests; no pairs and lists where they bear no loss.
        packed: Whether prompts share tokens; otherwise they run side by side, padded.
        trees: Per forest, how many prompts each tree has.
    """

    forests: Sequence[Forest]
    others: Sequence[NDArray[np.bool_]]
    weights: Weights
    packed: bool
    trees: Sequence[Sequence[int]]

    @classmethod
    def build(
        cls,
        trees: Sequence[Tree],
        budget: int,
        draw: np.random.Generator,
        fraction: float,
        *,
        packed: bool = True,
        ranked: bool = False,
    ) -> StepForests:
        """Pack trees into forests of at most `budget` tokens; choose a fraction of the tokens outside the answers.

        Pairs and lists are counted where the order of the prompts bears a loss: where they are `ranked`.

        Raises:
            ModelError: They are ranked, and not packed.
        """
        if ranked and not packed:
            raise ModelError(
                "loss on the order of targets (pair_weight, list_weight)",
                found="a backbone that takes one prompt at a time",
                expected="one whose prompts share a history",
                hint="Set both weights to 0",
            )
        if not packed:  # prompts of like length run together, which saves padding
            trees = sorted((alone for tree in trees for alone in split(tree)), key=lambda tree: tree.n_tokens)
        runs = list(forests(trees, budget))
        packs = [pack(trees[start:stop], share=packed) for start, stop in runs]
        others = [
            (draw.random(len(forest.ids)) < fraction) & (forest.labels == IGNORE) & (forest.previous >= 0)
            for forest in packs
        ]
        answer_weight = sum(float(forest.weights[forest.labels != IGNORE].sum()) for forest in packs)
        other_weight = sum(float(forest.weights[mask].sum()) for forest, mask in zip(packs, others, strict=True))
        sizes = [[len(tree.branches) for tree in trees[start:stop]] for start, stop in runs]
        counts = list(map(ranking_counts, packs, sizes)) if ranked else []
        pairs, lists = sum(count.pairs for count in counts), sum(count.lists for count in counts)
        return cls(packs, others, Weights(answer_weight, other_weight, pairs, lists), packed, sizes)

    def losses(self, model: nn.Module) -> Iterator[Losses]:
        """What each forest adds to the means over the step."""
        for forest, mask, sizes in zip(self.forests, self.others, self.trees, strict=True):
            is_answer = forest.labels != IGNORE
            chosen = np.flatnonzero(is_answer | mask)
            logits = logits_at(model, forest, forest.previous[chosen], packed=self.packed)
            targets = torch.from_numpy(forest.ids[chosen]).to(logits.device)
            weights = torch.from_numpy(forest.weights[chosen]).to(logits.device, torch.float32)
            losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none") * weights
            # By index: by mask a GPU would have to be waited for.
            answers, others = (
                torch.from_numpy(np.flatnonzero(kind)).to(logits.device)
                for kind in (is_answer[chosen], ~is_answer[chosen])
            )
            ranking = RankingSums(logits.new_zeros(()), logits.new_zeros(()))
            if self.weights.pairs:
                asked = torch.from_numpy(np.searchsorted(chosen, first_answers(forest))).to(logits.device)
                ranking = ranking_sums(logits[asked].float(), forest, sizes)
            yield Losses(
                losses[answers].sum() / self.weights.answers,
                losses[others].sum() / max(self.weights.others, 1.0),
                ranking.pairs / max(self.weights.pairs, 1.0),
                ranking.lists / max(self.weights.lists, 1.0),
            )


def idle_loss(model: nn.Module, tree: Tree, *, packed: bool) -> Tensor:
    """A loss of 0 from a pass over one prompt of `tree`, whose gradients are 0."""
    prompts = StepForests.build(split(tree)[:1], 0, np.random.default_rng(0), 0.0, packed=packed)
    (losses,) = prompts.losses(model)
    return losses.answers * 0


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of optimizer step `step` (from 0) of `steps`: linear warm-up, then the configured decay."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    span = max(1, steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    height = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[config.schedule]
    return config.lr * (config.final_lr + (1 - config.final_lr) * height)


def build_optimizer(trained: Mapping[str, nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over `trained`; weight decay acts on matrices only."""
    matrices = [tensor for tensor in trained.values() if tensor.ndim >= 2]
    vectors = [tensor for tensor in trained.values() if tensor.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, betas=config.betas)


def flatten_optimizer(optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Optimizer state as ``<parameter name>/<slot>`` tensors."""
    return {
        f"{name}/{slot}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, tensor in trained.items()
        for slot, value in optimizer.state[tensor].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    trained: Mapping[str, nn.Parameter],
    state: Mapping[str, Tensor],
    part: Callable[[Tensor, Tensor], Tensor] = lambda whole, like: whole.to(like.device),
) -> None:
    """Put a flattened state back, of each tensor the `part` that goes with a parameter (see `World.part`).

    Raises:
        ArtifactError: A parameter has none.
    """
    slots: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, slot = key.rsplit("/", 1)
        slots.setdefault(name, {})[slot] = value
    if missing := sorted(set(trained) - set(slots)):
        raise ArtifactError(
            "optimizer state of a checkpoint",
            found=f"nothing for {len(missing)} of {len(trained)} parameters (first: {missing[0]})",
            expected="the state of every trained parameter",
            hint="Start the stage again with --restart",
        )
    for name, tensor in trained.items():
        optimizer.state[tensor] = {
            slot: value if slot == "step" else part(value, tensor) for slot, value in slots[name].items()
        }


class Averager:
    """Exponential moving average of weights, with a warm-up so that early steps do not weigh for ever."""

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in trained.items()}

    @torch.no_grad()
    def update(self, trained: Mapping[str, nn.Parameter], step: int) -> None:
        """Move the average towards the weights after optimizer step `step` (from 0)."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, tensor in trained.items():
            self.values[name].lerp_(tensor.detach(), 1 - decay)
