"""The language-model scorer: does the model answer "Yes." rather than "No."?

The score of an item is logit(Yes) − logit(No) at the answer position (TALLRec §2.1). It is the log-odds of "liked",
given that the model answers at all. The probability mass of the two answers together is reported beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList
from recalign.models.forward import logits_at, supports_fusion, supports_packing
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.packing import Forest, Tree, forests, grow_tree, grow_trees, pack
from recalign.prompting.prompts import HistoryText
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
        batch_tokens: Token budget of one forward pass. Activations that fit the processor's caches are fastest.

    Attributes:
        progress: Called after each forward pass with (prompts scored, prompts to score); see `scoring.base.watched`.
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: PromptEncoder,
        catalog: ItemCatalog,
        *,
        name: str = "llm",
        kind: ScoreKind = "log-odds",
        batch_tokens: int = 2560,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.catalog = catalog
        self.kind = kind
        self.name = name
        self.log_odds = kind == "log-odds"
        self.progress: Callable[[int, int], None] | None = None
        self._batch_tokens = batch_tokens
        self._packed = supports_packing(model, longest=encoder.max_length)
        self._fused = self._packed and supports_fusion(model)

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score every item of every list; see `Scorer`. Raises DataError where an item is not in the catalogue."""
        if not lists:
            return Scores((), ())
        sizes = [len(candidates.item_ids) for candidates in lists]
        scores, mass = self.score_prompts(self._encode(lists), sizes)
        cuts = np.cumsum(sizes)[:-1]
        return Scores(tuple(np.split(scores, cuts)), tuple(np.split(mass, cuts)))

    def score_prompts(
        self, prompts: Sequence[EncodedPrompt], sizes: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Score and probability mass of the two answers per prompt, each of shape (prompts,).

        The first `sizes[0]` prompts are of one history, the next `sizes[1]` of another, and so on.
        """
        self.model.eval()
        scores, mass, done = np.empty(len(prompts)), np.empty(len(prompts)), 0
        for forest, places in self._forests(prompts, sizes):
            scores[places], mass[places] = self._forward(forest)
            done += len(places)
            if self.progress is not None:
                self.progress(done, len(prompts))
        return scores, mass

    def _encode(self, lists: Sequence[CandidateList]) -> list[EncodedPrompt]:
        histories: list[tuple[HistoryText, ...]] = []
        targets: list[str] = []
        for candidates in lists:
            history = self.catalog.with_texts(candidates.history)
            for item_id in candidates.item_ids:
                histories.append(history)
                targets.append(self.catalog.text(item_id))
        return self.encoder.encode_many(histories, targets)

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
