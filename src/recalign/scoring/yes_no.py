"""The language-model scorer: how much rather "Yes." than "No."?

The score of an item is logit(Yes) − logit(No) at the answer position (TALLRec §2.1; SPEC §5), which is the log-odds of
"liked" given that the model answers at all; the probability mass of the two answers together is reported beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList
from recalign.models.forward import logits_at, supports_packing
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.packing import Tree, build_row, collate, grow_tree, grow_trees, pack
from recalign.prompting.template import HistoryText
from recalign.scoring.base import Scores

ScoreKind = Literal["log-odds", "paper"]


class YesNoScorer:
    """A `Scorer` around a causal language model.

    Args:
        model: The tuned model; it is in evaluation mode while it scores.
        encoder: The one encoding path, with the template that the adapter was tuned with.
        catalog: Texts of the items that histories and candidates name.
        name: Name in tables.
        kind: "log-odds", or "paper" for p(Yes) − p(No), the order in which the reference code ranks (it applies a
            second softmax to the two probabilities). It can reorder samples and is no log-odds, so LogLoss and ECE are
            undefined.
        row_tokens: Token budget of a packed row.
        batch_tokens: Token budget of one forward pass (padding included).
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: PromptEncoder,
        catalog: ItemCatalog,
        *,
        name: str = "llm",
        kind: ScoreKind = "log-odds",
        row_tokens: int = 768,
        batch_tokens: int = 6144,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.catalog = catalog
        self.kind = kind
        self._name = name
        self._row_tokens = row_tokens
        self._batch_tokens = batch_tokens
        self._packed = supports_packing(model, encoder.pad_id, longest=encoder.max_length)

    @property
    def name(self) -> str:
        return self._name

    @property
    def log_odds(self) -> bool:
        return self.kind == "log-odds"

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score every item of every list; see `Scorer`. Raises DataError where an item is not in the catalogue."""
        sizes = [len(candidates.item_ids) for candidates in lists]
        self.model.eval()
        prompts = self._encode(lists)
        scores = np.empty(len(prompts))
        mass = np.empty(len(prompts))
        for batch_trees, places in self._batches(prompts, sizes):
            batch_scores, batch_mass = self._forward(batch_trees)
            scores[places], mass[places] = batch_scores, batch_mass
        if not lists:
            return Scores((), ())
        cuts = np.cumsum(sizes)[:-1]
        return Scores(tuple(np.split(scores, cuts)), tuple(np.split(mass, cuts)))

    def _encode(self, lists: Sequence[CandidateList]) -> list[EncodedPrompt]:
        histories: list[tuple[HistoryText, ...]] = []
        targets: list[str] = []
        for candidates in lists:
            history = tuple(
                HistoryText(self.catalog.text(entry.item_id), entry.liked, entry.rating) for entry in candidates.history
            )
            for item_id in candidates.item_ids:
                histories.append(history)
                targets.append(self.catalog.text(item_id))
        return self.encoder.encode_many(histories, targets)

    def _batches(
        self, prompts: list[EncodedPrompt], sizes: list[int]
    ) -> list[tuple[list[list[Tree]], NDArray[np.int64]]]:
        """Group prompts into trees, trees into rows, rows of like length into forward passes."""
        trees: list[Tree] = []
        places: list[list[int]] = []
        start = 0
        for size in sizes:
            group = prompts[start : start + size]
            grown = grow_trees(group, self._row_tokens) if self._packed else [grow_tree([one]) for one in group]
            for tree in grown:
                trees.append(tree)
                places.append(list(range(start, start + len(tree.branches))))
                start += len(tree.branches)
        if self._packed:
            rows = pack(trees, self._row_tokens)
        else:
            rows = [[index] for index in sorted(range(len(trees)), key=lambda index: trees[index].n_tokens)]
        batches: list[tuple[list[list[Tree]], NDArray[np.int64]]] = []
        chunk: list[list[int]] = []
        longest = 0
        for row in rows:
            length = sum(trees[index].n_tokens for index in row)
            if chunk and max(longest, length) * (len(chunk) + 1) > self._batch_tokens:
                batches.append(self._batch(chunk, trees, places))
                chunk, longest = [], 0
            chunk.append(row)
            longest = max(longest, length)
        if chunk:
            batches.append(self._batch(chunk, trees, places))
        return batches

    @staticmethod
    def _batch(
        chunk: list[list[int]], trees: list[Tree], places: list[list[int]]
    ) -> tuple[list[list[Tree]], NDArray[np.int64]]:
        order = [place for row in chunk for index in row for place in places[index]]
        return [[trees[index] for index in row] for row in chunk], np.asarray(order, dtype=np.int64)

    @torch.inference_mode()
    def _forward(self, rows: list[list[Tree]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        batch = collate([build_row(row) for row in rows], self.encoder.pad_id)
        logits = logits_at(self.model, batch, batch.answers, packed=self._packed).double()
        yes, no = self.encoder.yes_id, self.encoder.no_id
        probabilities = torch.softmax(logits, dim=-1)[:, [yes, no]]
        if self.kind == "paper":
            score = probabilities[:, 0] - probabilities[:, 1]
        else:
            score = logits[:, yes] - logits[:, no]
        return score.cpu().numpy(), probabilities.sum(dim=-1).cpu().numpy()
