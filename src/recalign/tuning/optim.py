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

from recalign.errors import ArtifactError
from recalign.models.forward import logits_at
from recalign.prompting.encoding import IGNORE
from recalign.prompting.packing import Forest, Tree, forests, pack, split
from recalign.tuning.config import OptimConfig


class Losses(NamedTuple):
    """What a forest adds to the mean losses of a step: of answer tokens, of other tokens, of pairs (`_pair_losses`)."""

    answers: Tensor
    others: Tensor
    pairs: Tensor


@dataclass(frozen=True, slots=True)
class StepForests:
    """The packed prompts of one optimizer step.

    Attributes:
        forests: One per micro-batch.
        others: Per forest a bool array: tokens outside the answers that bear the language-model loss.
        answer_weight, other_weight: Sums of token weights over all forests, the denominators of the two means.
        trees: Per forest, how many prompts each tree has.
        pairs: Pairs of prompts of one tree with different answers, over all forests; 0 where they bear no loss.
        packed: Whether prompts share tokens; otherwise they run side by side, padded.
    """

    forests: Sequence[Forest]
    others: Sequence[NDArray[np.bool_]]
    answer_weight: float
    other_weight: float
    packed: bool
    trees: Sequence[Sequence[int]]
    pairs: float

    @classmethod
    def build(
        cls,
        trees: Sequence[Tree],
        budget: int,
        draw: np.random.Generator,
        fraction: float,
        *,
        packed: bool = True,
        paired: bool = False,
    ) -> StepForests:
        """Pack trees into forests of at most `budget` tokens; choose a fraction of the tokens outside the answers.

        Pairs are counted where the prompts are `paired`.
        """
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
        pairs = float(sum(map(_differing_pairs, packs, sizes))) if paired else 0.0
        return cls(packs, others, answer_weight, other_weight, packed, sizes, pairs)

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
            pairs = logits.new_zeros(())
            if self.pairs:
                asked = torch.from_numpy(np.searchsorted(chosen, _first_answers(forest))).to(logits.device)
                pairs = _pair_losses(logits[asked].float(), forest, sizes)
            yield Losses(
                losses[answers].sum() / self.answer_weight,
                losses[others].sum() / max(self.other_weight, 1.0),
                pairs / max(self.pairs, 1.0),
            )


def _first_answers(forest: Forest) -> NDArray[np.int64]:
    """Where the first token of each prompt's answer stands; shape (prompts,)."""
    after = np.full(len(forest.ids), -1)
    answers = np.flatnonzero((forest.labels != IGNORE) & (forest.previous >= 0))
    after[forest.previous[answers[::-1]]] = answers[::-1]
    return after[forest.answers]


def _differing_pairs(forest: Forest, sizes: Sequence[int]) -> int:
    parts = np.split(forest.ids[_first_answers(forest)], np.cumsum(sizes)[:-1])
    return sum(int((part[:, None] != part[None]).sum()) // 2 for part in parts)


def _pair_losses(logits: Tensor, forest: Forest, sizes: Sequence[int]) -> Tensor:
    """Sum over pairs of prompts of one tree with different answers: is each answer likelier where it is right?

    For answers a and b of prompts i and j the loss is softplus(-(log-odds of a against b at i minus those at j)).
    """
    ids = torch.from_numpy(forest.ids[_first_answers(forest)]).to(logits.device)
    total, start = logits.new_zeros(()), 0
    for size in sizes:
        answers = ids[start : start + size]
        given = logits[start : start + size][:, answers]
        start += size
        own = given.diagonal()
        gap = own[:, None] - given + own[None] - given.T
        differ = (answers[:, None] != answers[None]).triu(1)
        total = total + (nn.functional.softplus(-gap) * differ).sum()
    return total


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
