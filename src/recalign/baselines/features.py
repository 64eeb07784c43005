"""What a network is told about items: the row of its embedding and, beside text, features of the item's text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from recalign.baselines.items import Places
from recalign.baselines.text_encoder import TextEncoder
from recalign.data.catalog import ItemCatalog

_BLOCK: Final = 512  # items
_KEPT_BLOCKS: Final = 128
_KEPT: dict[tuple[str, str, tuple[str, ...]], Tensor] = {}


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
    """CLS embeddings of a catalogue's item texts, in blocks of the catalogue that are computed when first asked for.

    Blocks are fixed by the catalogue, so that an embedding depends on no order of questions, and are shared by all
    baselines of a process.
    """

    def __init__(self, encoder: TextEncoder, catalog: ItemCatalog) -> None:
        self._encoder, self._catalog = encoder, catalog
        # Row 0 is that of no item: the padding of an empty history.
        self._features = torch.zeros(len(catalog) + 1, encoder.width)
        self._known = np.zeros(-(-len(catalog) // _BLOCK), dtype=bool)

    def __call__(self, places: Places) -> Tensor:
        """Features of places in the catalogue (counted from 1), shape (..., width), on the CPU."""
        blocks = np.unique((places[places > 0] - 1) // _BLOCK)
        for block in blocks[~self._known[blocks]]:
            ids = self._catalog.ids[block * _BLOCK : (block + 1) * _BLOCK]
            texts = tuple(self._catalog.text(item) for item in ids)
            start = 1 + int(block) * _BLOCK
            self._features[start : start + len(texts)] = _encoded(self._encoder, texts)
            self._known[block] = True
        return self._features[torch.from_numpy(places)]


def _encoded(encoder: TextEncoder, texts: tuple[str, ...]) -> Tensor:
    """Embeddings of a block, kept for the next baseline with an equal encoder."""
    key = (encoder.fingerprint, encoder.device, texts)
    if key not in _KEPT:
        if len(_KEPT) >= _KEPT_BLOCKS:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = encoder.encode(texts)
    return _KEPT[key]


class ItemLookup:
    """From places in a catalogue to `ItemFeatures` on a device."""

    def __init__(self, rows: Places, text: TextFeatures | None, device: torch.device) -> None:
        """`rows`: see `recalign.baselines.items.embedding_rows`."""
        self._rows, self._text, self._device = rows, text, device

    def __call__(self, places: Places) -> ItemFeatures:
        text = None if self._text is None else self._text(places).to(self._device)
        return ItemFeatures(torch.from_numpy(self._rows[places]).to(self._device), text)
