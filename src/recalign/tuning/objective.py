"""The loss of one optimizer step: cross-entropy on answer tokens, and optionally a language-model loss beside it.

Both papers train on the answer tokens alone (their Eq. 1). The mean is over all answer tokens of the step, however the
step is cut into micro-batches, and a token shared by several prompts counts once for each of them: the gradient is that
of separate prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recalign.models.forward import logits_at
from recalign.prompting.encoding import IGNORE
from recalign.prompting.packing import Forest, Tree, forests, pack, split


@dataclass(frozen=True, slots=True)
class StepForests:
    """The packed prompts of one optimizer step, one forest per micro-batch.

    Attributes:
        forests: What runs together.
        others: Per forest a bool array: tokens outside the answers that bear the language-model loss.
        answer_weight, other_weight: Sums of token weights over all forests, the denominators of the two means.
        packed: Whether prompts share tokens; otherwise they run side by side, padded.
    """

    forests: Sequence[Forest]
    others: Sequence[NDArray[np.bool_]]
    answer_weight: float
    other_weight: float
    packed: bool

    @classmethod
    def build(
        cls, trees: Sequence[Tree], budget: int, draw: np.random.Generator, fraction: float, *, packed: bool = True
    ) -> StepForests:
        """Pack trees into forests of at most `budget` tokens; choose a fraction of the tokens outside the answers."""
        if not packed:  # prompts of like length run together, which saves padding
            trees = sorted((alone for tree in trees for alone in split(tree)), key=lambda tree: tree.n_tokens)
        packs = [pack(trees[start:stop], share=packed) for start, stop in forests(trees, budget)]
        others = [
            (draw.random(len(forest.ids)) < fraction) & (forest.labels == IGNORE) & (forest.previous >= 0)
            for forest in packs
        ]
        answer_weight = sum(float(forest.weights[forest.labels != IGNORE].sum()) for forest in packs)
        other_weight = sum(float(forest.weights[mask].sum()) for forest, mask in zip(packs, others, strict=True))
        return cls(packs, others, answer_weight, other_weight, packed)

    def losses(self, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """What each forest adds to the mean loss of the answer tokens and to that of the other tokens."""
        for forest, mask in zip(self.forests, self.others, strict=True):
            is_answer = forest.labels != IGNORE
            chosen = np.flatnonzero(is_answer | mask)
            logits = logits_at(model, forest, forest.previous[chosen], packed=self.packed)
            targets = torch.from_numpy(forest.ids[chosen]).to(logits.device)
            weights = torch.from_numpy(forest.weights[chosen]).to(logits.device, torch.float32)
            losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none") * weights
            answers = torch.from_numpy(is_answer[chosen]).to(logits.device)
            yield losses[answers].sum() / self.answer_weight, losses[~answers].sum() / max(self.other_weight, 1.0)
