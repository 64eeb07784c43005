"""A trained sequential baseline as a `Scorer`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recalign.baselines.items import ItemIndex
from recalign.baselines.network import ItemLookup, Network
from recalign.data.samples import CandidateList
from recalign.scoring.base import Scores

_LISTS, _ITEMS = 1024, 8192  # of one forward pass


class SequenceScorer:
    """Log-odds of "liked": the logit of the network's sigmoid. The network is in evaluation mode, on its device."""

    log_odds = True

    def __init__(self, network: Network, index: ItemIndex, lookup: ItemLookup, length: int, name: str) -> None:
        self._network, self._index, self._lookup, self._length = network, index, lookup, length
        self.name = name

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        """Score every item of every list; a history's state is computed once.

        Raises:
            DataError: An item is not in the catalogue.
        """
        parts = (self._score(lists[start : start + _LISTS]) for start in range(0, len(lists), _LISTS))
        return Scores(tuple(values for part in parts for values in part))

    @torch.inference_mode()
    def _score(self, lists: Sequence[CandidateList]) -> list[NDArray[np.float64]]:
        device = next(self._network.parameters()).device
        histories = self._index.histories([asked.history for asked in lists], self._length)
        states = self._network.states(self._lookup(histories.items), torch.from_numpy(histories.feedback).to(device))
        sizes = np.array([len(asked.item_ids) for asked in lists])
        places = self._index.places(item for asked in lists for item in asked.item_ids)
        owners = np.repeat(np.arange(len(lists)), sizes)
        logits = np.empty(len(places))
        for start in range(0, len(places), _ITEMS):
            part = slice(start, start + _ITEMS)
            chosen = states[torch.from_numpy(owners[part]).to(device)]
            logits[part] = self._network.logits(chosen, self._lookup(places[part])).double().cpu().numpy()
        return np.split(logits, np.cumsum(sizes)[:-1])
