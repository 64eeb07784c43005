"""The language-model scorer: does the model answer "Yes." rather than "No."?

The score of an item is logit(Yes) − logit(No) at the answer position (TALLRec §2.1). It is the log-odds of "liked",
given that the model answers at all. The probability mass of the two answers together is reported beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recalign.data.catalog import ItemCatalog
from recalign.data.facts import FactFinder
from recalign.models.forward import logits_at, supports_fusion, supports_packing, tokens_per_pass
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.packing import Forest, Tree, forests, grow_tree, grow_trees, pack
from recalign.scoring.prompted import PromptScorer, ScoreKind


class YesNoScorer(PromptScorer):
    """A `Scorer` around a causal language model.

    Args:
        model: The tuned model; it is in evaluation mode while it scores.
        encoder, catalog, name, kind, finder: See `PromptScorer`.
        batch_tokens: Token budget of one forward pass on a CPU, see `tokens_per_pass`.
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: PromptEncoder,
        catalog: ItemCatalog,
        *,
        name: str = "llm",
        kind: ScoreKind = "log-odds",
        finder: FactFinder | None = None,
        batch_tokens: int = 2560,
    ) -> None:
        super().__init__(encoder, catalog, name=name, kind=kind, finder=finder)
        self.model = model
        self._batch_tokens = tokens_per_pass(model, batch_tokens)
        self._packed = supports_packing(model, longest=encoder.max_length)
        self._fused = self._packed and supports_fusion(model)

    def score_prompts(
        self, prompts: Sequence[EncodedPrompt], sizes: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `PromptScorer.score_prompts`."""
        self.model.eval()
        scores, mass, done = np.empty(len(prompts)), np.empty(len(prompts)), 0
        for forest, places in self._forests(prompts, sizes):
            scores[places], mass[places] = self._forward(forest)
            done += len(places)
            if self.progress is not None:
                self.progress(done, len(prompts))
        return scores, mass

    def _forests(
        self, prompts: Sequence[EncodedPrompt], sizes: Sequence[int]
    ) -> Iterator[tuple[Forest, NDArray[np.int64]]]:
        """Group prompts into trees, trees into forests of the token budget; with the places of their prompts."""
        trees: list[Tree] = []
        start = 0
        for size in sizes:
            group = prompts[start : start + size]
            trees += grow_trees(group, self._batch_tokens) if self._packed else [grow_tree([one]) for one in group]
            start += size
        ends = np.cumsum([len(tree.branches) for tree in trees])
        order = np.arange(len(trees))
        if not self._packed:  # prompts of like length run together, which saves padding
            order = np.argsort([tree.n_tokens for tree in trees], kind="stable")
        ordered = [trees[index] for index in order]
        for first, last in forests(ordered, self._batch_tokens):
            places = [np.arange(ends[index] - len(trees[index].branches), ends[index]) for index in order[first:last]]
            yield pack(ordered[first:last], share=self._packed), np.concatenate(places)

    @torch.inference_mode()
    def _forward(self, forest: Forest) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        logits = logits_at(self.model, forest, forest.answers, packed=self._packed, fused=self._fused).double()
        yes, no = self.encoder.yes_id, self.encoder.no_id
        probabilities = torch.softmax(logits, dim=-1)[:, [yes, no]]
        if self.kind == "paper":
            score = probabilities[:, 0] - probabilities[:, 1]
        else:
            score = logits[:, yes] - logits[:, no]
        return score.cpu().numpy(), probabilities.sum(dim=-1).cpu().numpy()
