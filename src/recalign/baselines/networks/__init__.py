"""Sequential baselines as plug-ins: one record and file per baseline. Listing their names imports no torch.

A module of this package (or of another one that names an entry point ``recalign.baselines``) holds its record as
`PLUGIN`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from recalign.plugins import PluginGroup

if TYPE_CHECKING:
    from torch import Tensor

    from recalign.baselines.config import BaselineConfig


class SequenceEncoder(Protocol):
    """A `torch.nn.Module` that turns the entries of histories into states."""

    width: int  # of a state

    def __call__(self, entries: Tensor) -> Tensor:
        """(n, length, inputs) to (n, width); entries run from oldest to newest."""


@dataclass(frozen=True, kw_only=True)
class BaselinePlugin:
    """A sequential baseline.

    Attributes:
        title: What the papers call it.
        encoder: Builds the encoder from the configuration and the width of an entry.
        text: Whether items are represented by their text, too.
        robust: Whether the objective is distributionally robust (`recalign.baselines.networks.dros`).
        width: Width of the sequence state, unless `BaselineConfig.width` says otherwise.
        layers: Number of layers, unless `BaselineConfig.layers` says otherwise.
    """

    title: str
    encoder: Callable[[BaselineConfig, int], SequenceEncoder]
    text: bool = False
    robust: bool = False
    width: int = 64
    layers: int = 1


BASELINES: Final = PluginGroup("baselines", "baseline", "recalign.baselines.networks", BaselinePlugin)
