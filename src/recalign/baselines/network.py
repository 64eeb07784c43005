"""What all sequential baselines share: embeddings below, the candidate joined to the sequence state above.

An entry of the history is the item's embedding, its text features where the model has them, and the embedding of the
feedback (TALLRec §3.1.5), concatenated. The baseline's encoder turns the entries into a state. The state and the
candidate's item representation, concatenated, pass one hidden layer to the logit of "liked". The state does not depend
on the candidate, so one serves all candidates of a history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.items import ItemIndex, Places
from recalign.baselines.text_encoder import TextFeatures
from recalign.data.samples import CandidateList
from recalign.scoring.base import Scores

_LISTS, _ITEMS = 1024, 8192  # of one forward pass of a scorer


@dataclass(frozen=True)
class ItemFeatures:
    """What a network is told about items of any shape (...): rows of the item embedding, int64 of shape (...).

    Text features have shape (..., d); None for models without.
    """

    rows: Tensor
    text: Tensor | None = None


class ItemLookup:
    """From places in a catalogue to `ItemFeatures` on a device."""

    def __init__(self, rows: Places, text: TextFeatures | None, device: torch.device) -> None:
        """`rows`: see `recalign.baselines.items.embedding_rows`."""
        self._rows, self._text, self._device = rows, text, device

    def __call__(self, places: Places) -> ItemFeatures:
        text = None if self._text is None else self._text(places).to(self._device)
        return ItemFeatures(torch.from_numpy(self._rows[places]).to(self._device), text)


class Network(nn.Module):
    """A sequential baseline."""

    def __init__(self, config: BaselineConfig, items: int, text_width: int) -> None:
        """For a number of trained `items` (row 0 is the embedding of all others); `text_width` is 0 without text."""
        super().__init__()
        self.item = nn.Embedding(items + 1, config.embedding)
        self.feedback = nn.Embedding(3, config.feedback)
        width = config.embedding + text_width
        self.encoder = config.plugin.encoder(config, width + config.feedback)
        hidden = config.state_width
        self.head = nn.Sequential(nn.Linear(self.encoder.width + width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.item.weight, 0.0, config.item_scale)

    def states(self, items: ItemFeatures, feedback: Tensor) -> Tensor:
        """State of each sequence: items and feedback of shape (n, length), oldest first; result (n, width)."""
        state: Tensor = self.encoder(torch.cat([self._represent(items), self.feedback(feedback)], dim=-1))
        return state

    def logits(self, states: Tensor, items: ItemFeatures) -> Tensor:
        """Log-odds of "liked" of one candidate per state: (n, width) and (n,) to (n,)."""
        logits: Tensor = self.head(torch.cat([self.dropout(states), self._represent(items)], dim=-1))
        return logits.squeeze(-1)

    def _represent(self, items: ItemFeatures) -> Tensor:
        embedded: Tensor = self.item(items.rows)
        return embedded if items.text is None else torch.cat([embedded, items.text], dim=-1)


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
