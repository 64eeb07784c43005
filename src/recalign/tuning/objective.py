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
from recalign.prompting.packing import IGNORE, Row, Tree, build_row, collate, pack


@dataclass(frozen=True, slots=True)
class StepRows:
    """The packed rows of one optimizer step.

    Attributes:
        rows: Rows, shortest first: rows of like length run together, which saves padding.
        others: Per row a bool array: tokens outside the answers that bear the language-model loss.
        answer_weight, other_weight: Sums of token weights over all rows, the denominators of the two means.
    """

    rows: Sequence[Row]
    others: Sequence[NDArray[np.bool_]]
    answer_weight: float
    other_weight: float

    @classmethod
    def build(cls, trees: Sequence[Tree], row_tokens: int, draw: np.random.Generator, other_share: float) -> StepRows:
        """Pack trees into rows of at most `row_tokens` tokens (0: one tree per row) and choose the other tokens."""
        places = pack(trees, row_tokens) if row_tokens else [[index] for index in range(len(trees))]
        rows = sorted((build_row([trees[index] for index in place]) for place in places), key=lambda row: len(row.ids))
        others = [
            (draw.random(len(row.ids)) < other_share) & (row.labels == IGNORE) & (row.previous >= 0) for row in rows
        ]
        answer_weight = sum(float(row.weights[row.labels != IGNORE].sum()) for row in rows)
        other_weight = sum(float(row.weights[mask].sum()) for row, mask in zip(rows, others, strict=True))
        return cls(rows, others, answer_weight, other_weight)

    def micro_batches(self, budget: int) -> Iterator[tuple[int, int]]:
        """Cut the rows into consecutive groups whose padded size stays within `budget` tokens (at least one row)."""
        start, longest = 0, 0
        for index, row in enumerate(self.rows):
            if index > start and max(longest, len(row.ids)) * (index - start + 1) > budget:
                yield start, index
                start, longest = index, 0
            longest = max(longest, len(row.ids))
        yield start, len(self.rows)

    def losses(
        self, model: nn.Module, inner: nn.Module, start: int, stop: int, pad_id: int, *, packed: bool
    ) -> tuple[Tensor, Tensor]:
        """The shares of rows [start, stop) in the mean loss of answer tokens and in that of the other tokens."""
        batch = collate(self.rows[start:stop], pad_id)
        is_answer = batch.labels != IGNORE
        chosen = is_answer.copy()
        for index, mask in enumerate(self.others[start:stop]):
            chosen[index, : len(mask)] |= mask
        rows, columns = np.nonzero(chosen)
        positions = np.stack([rows, batch.previous[rows, columns]], axis=1)
        logits = logits_at(model, batch, positions, packed=packed, inner=inner)
        targets = torch.from_numpy(batch.ids[rows, columns]).to(logits.device)
        weights = torch.from_numpy(batch.weights[rows, columns]).to(logits.device, torch.float32)
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none") * weights
        answers = torch.from_numpy(is_answer[rows, columns]).to(logits.device)
        return losses[answers].sum() / self.answer_weight, losses[~answers].sum() / max(self.other_weight, 1.0)
