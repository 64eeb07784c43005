"""What scorers around a language model have in common: lists of candidates become prompts, and their scores lists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.facts import FactFinder
from recalign.data.samples import CandidateList
from recalign.prompting.asking import DomainPrompts
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.scoring.base import Scores

ScoreKind = Literal["log-odds", "paper"]


class PromptScorer(ABC):
    """A `Scorer` that asks a language model one prompt per item.

    Args:
        encoder: The one encoding path, with the template that the model was tuned with.
        catalog: Texts of the items that histories and candidates name.
        finder: Finds the facts that the template states; None: it is asked without.
        name: Name in tables.
        kind: "log-odds", or "paper" for p(Yes) − p(No), the order in which the reference code ranks (it applies a
            second softmax to the two probabilities). It can reorder samples and is no log-odds, so LogLoss and ECE are
            undefined.

    Attributes:
        progress: Called now and then with (prompts scored, prompts to score); see `scoring.base.watched`.
    """

    def __init__(
        self, encoder: PromptEncoder, catalog: ItemCatalog, *, name: str, kind: ScoreKind, finder: FactFinder | None
    ) -> None:
        self.encoder, self.catalog = encoder, catalog
        self._prompts = DomainPrompts(encoder, catalog, finder)
        self.kind = kind
        self.name = name
        self.log_odds = kind == "log-odds"
        self.progress: Callable[[int, int], None] | None = None

    @abstractmethod
    def score_prompts(
        self, prompts: Sequence[EncodedPrompt], sizes: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Score and probability mass of the two answers per prompt, each of shape (prompts,).

        The first `sizes[0]` prompts are of one history, the next `sizes[1]` of another, and so on.
        """

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score every item of every list; see `Scorer`. Raises DataError where an item is not in the catalogue."""
        if not lists:
            return Scores((), ())
        sizes = [len(candidates.item_ids) for candidates in lists]
        scores, mass = self.score_prompts(self._prompts.encode(lists), sizes)
        cuts = np.cumsum(sizes)[:-1]
        return Scores(tuple(np.split(scores, cuts)), tuple(np.split(mass, cuts)))
