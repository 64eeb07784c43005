"""Packed prompts made visible, for tests of what must not depend on how prompts are packed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recalign.prompting.packing import Forest


def visible(forest: Forest) -> NDArray[np.bool_]:
    """The attention mask in full, shape (T, T): True where the query (row) sees the key (column)."""
    mask = np.zeros((len(forest.ids), len(forest.ids)), dtype=np.bool_)
    for group in forest.groups:
        for start, stop in group.prefix:
            mask[group.start : group.stop, start:stop] = True
        place = group.start
        for length in group.lengths:
            mask[place : place + length, place : place + length] = np.tri(length, dtype=np.bool_)
            place += length
    return mask
