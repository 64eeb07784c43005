"""What all sequential baselines share: embeddings below, the candidate joined to the sequence state above.

An entry of the history is the item's embedding, its text features where the model has them, and the embedding of the
feedback (TALLRec §3.1.5), concatenated. The encoder of the baseline's record (`recalign.baselines.plugin`) turns the
entries into a state. The state and the candidate's item representation, concatenated, pass one hidden layer to the
logit of "liked". The state does not depend on the candidate, so one serves all candidates of a history.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recalign.baselines.config import BaselineConfig
from recalign.baselines.features import ItemFeatures
from recalign.baselines.networks import BASELINES


class Network(nn.Module):
    """A sequential baseline.

    Args:
        config: The baseline.
        items: How many items were trained on; row 0 is the embedding of all others.
        text_width: Width of the text features, 0 without.
    """

    def __init__(self, config: BaselineConfig, items: int, text_width: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, config.embedding)
        self.feedback = nn.Embedding(3, config.feedback)
        width = config.embedding + text_width
        self.encoder = BASELINES.find(config.model).encoder(config, width + config.feedback)
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
