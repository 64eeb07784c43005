"""Retrievers as plug-ins: one record and file per retriever, found by name.

A module of this package (or of another one that names an entry point ``recalign.retrievers``) holds its record as
`PLUGIN`. An index has the built-in ones that can be made of what it is made of, and those of other packages by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recalign.errors import ConfigError
from recalign.plugins import PluginGroup
from recalign.retrieval.base import Retriever
from recalign.retrieval.interactions import Interactions
from recalign.retrieval.stock import Stock

Encode = Callable[[Sequence[str]], NDArray[np.float32]]  # texts -> vectors, shape (texts, width)


@runtime_checkable
class StoredRetriever(Retriever, Protocol):
    """A retriever that an index can hold. `recalign.retrieval.exact.ExactRetriever` has most of one."""

    def over(self, stock: Stock) -> Self:
        """The same retriever over other items. It keeps what it knows of those that both have."""

    def write(self, folder: Path) -> None:
        """Write into a folder that is shared: the names of its files begin with the retriever's name."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a retriever may be made of.

    Attributes:
        stock: The items.
        interactions: Who met what; None where there is only a catalogue.
        encode: A text encoder; None where none was named.
    """

    stock: Stock
    interactions: Interactions | None = None
    encode: Encode | None = None


@dataclass(frozen=True, kw_only=True)
class RetrieverPlugin:
    """A retriever.

    Attributes:
        fit: Makes it. None where the material lacks what it needs. Its `name` is that of the plug-in.
        read: Reads what it wrote, for the items that it was written with.
        needs: What it needs beside the items, in words; "" for nothing.
        position: Its place among the others, ascending.
    """

    fit: Callable[[Material], StoredRetriever | None]
    read: Callable[[Path, Stock], StoredRetriever]
    needs: str = ""
    position: int = 100


RETRIEVERS: Final = PluginGroup("retrievers", "retriever", "recalign.retrieval.retrievers", RetrieverPlugin)


def fit_retrievers(material: Material, also: Sequence[str] = ()) -> list[StoredRetriever]:
    """The built-in retrievers that can be made of this, and those that are named.

    Raises:
        ConfigError: There is no retriever of that name, it cannot be made of this, or calls itself something else.
    """
    wanted = dict.fromkeys((*RETRIEVERS.built_in_names(), *also))
    plugins = sorted(((name, RETRIEVERS.find(name)) for name in wanted), key=lambda entry: entry[1].position)
    fitted = {name: plugin.fit(material) for name, plugin in plugins}
    for name, plugin in plugins:
        retriever = fitted[name]
        if retriever is None and name in also:
            raise ConfigError(f"retriever {name}", found="nothing to make it of", expected=plugin.needs)
        if retriever is not None and retriever.name != name:
            raise ConfigError(f"retriever {name}", found=f"one that calls itself {retriever.name}", expected=name)
    return [retriever for retriever in fitted.values() if retriever is not None]
