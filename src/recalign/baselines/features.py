"""What a network is told about items: the row of its embedding and, beside text, features of the item's text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recalign.baselines.items import Places
from recalign.baselines.text_encoder import TextEncoder
from recalign.data.catalog import ItemCatalog


@dataclass(frozen=True)
class ItemFeatures:
    """Items of any shape (...).

    Attributes:
        rows: Rows of the item embedding, int64 of shape (...).
        text: Text features of shape (..., d), None for models without.
    """

    rows: Tensor
    text: Tensor | None = None


class TextFeatures:
    """CLS embeddings of a catalogue's item texts, each computed when it is first asked for and kept."""

    def __init__(self, encoder: TextEncoder, catalog: ItemCatalog) -> None:
        self._encoder, self._catalog = encoder, catalog
        # Row 0 is that of no item: the padding of an empty history.
        self._rows = np.full(len(catalog) + 1, -1, dtype=np.int64)
        self._rows[0] = 0
        self._features = torch.zeros(1, encoder.width)

    def __call__(self, places: Places) -> Tensor:
        """Features of places in the catalogue (counted from 1), shape (..., width), on the CPU."""
        new = np.unique(places[self._rows[places] < 0])
        if len(new):
            encoded = self._encoder.encode([self._catalog.text(self._catalog.ids[place - 1]) for place in new])
            self._rows[new] = len(self._features) + np.arange(len(new))
            self._features = torch.cat([self._features, encoded])
        return self._features[torch.from_numpy(self._rows[places])]


class ItemLookup:
    """From places in a catalogue to `ItemFeatures` on a device."""

    def __init__(self, rows: Places, text: TextFeatures | None, device: torch.device) -> None:
        """`rows`: see `recalign.baselines.items.embedding_rows`."""
        self._rows, self._text, self._device = rows, text, device

    def __call__(self, places: Places) -> ItemFeatures:
        text = None if self._text is None else self._text(places).to(self._device)
        return ItemFeatures(torch.from_numpy(self._rows[places]).to(self._device), text)
