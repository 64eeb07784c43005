"""The record of a dataset: everything that is known of it, in the one file of `recalign.data.readers` that reads it.

A module of that package (or of another one that names an entry point ``recalign.readers``) holds its record as
`PLUGIN`. Most datasets are ratings and have a `RatingsReader`. A file of finished samples has a `SamplesReader`, and
ratings that are made up have a `RatingsGenerator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recalign.data.domain import Domain
    from recalign.data.published import PublishedSamples, SampleTemplate
    from recalign.data.source import SourceData, SourceOptions

BOOK_TEXT: Final = '"{title}"[ written by {author}]'


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `prepare` takes where the user says nothing.

    Attributes:
        noun: What an item is called, in English; None where the user says it.
        like_above: Ratings above this are likes; None where the user says it.
        item_text: How an item reads (`recalign.data.catalog.render_item_text`).
        protocol: Which interactions become samples (`recalign.data.splitting`).
    """

    noun: str | None = None
    like_above: float | None = None
    item_text: str = "{title}"
    protocol: str = "leave-one-out"


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that `recalign download` fetches.

    Attributes:
        name: What the user calls it.
        url: Its public address; None where it has none any more.
        sha256: Its hash, where it was computed from the real file; else None.
    """

    name: str
    url: str | None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What is known of any dataset.

    Attributes:
        licence: Terms of use, one line.
        defaults: Of everything that is read.
        catalogues: What option `catalogue` may choose, with the defaults of each; the first one is the default.
        options: Fields of `SourceOptions` that the reader heeds. Others that the user sets are refused, not ignored.
        hints: What to do where a reason for rejecting rows is why nothing is left.
        archives: What can be downloaded.
    """

    licence: str
    defaults: Defaults = Defaults()
    catalogues: Mapping[str, Defaults] = field(default_factory=dict)
    options: frozenset[str] = frozenset({"items"})
    hints: Mapping[str, str] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RatingsReader(Reader):
    """Reads who rated what.

    Attributes:
        read: From a folder or file and options to validated tables. It raises DataError where a file is missing, empty,
            of another format, or holds no usable row.
    """

    read: Callable[[Path, SourceOptions], SourceData]


@dataclass(frozen=True, kw_only=True)
class RatingsGenerator(Reader):
    """Makes ratings up, so that there is no input path. Its option `items` is a number.

    Attributes:
        generate: From options to validated tables. It raises ConfigError where numbers are out of range.
    """

    generate: Callable[[SourceOptions], SourceData]


@dataclass(frozen=True, kw_only=True)
class SamplesReader(Reader):
    """Reads a file of finished samples, which settles histories, targets and labels itself.

    Attributes:
        read: From a file, the template that it was written with, words that the file does not contain, and options.
            It raises DataError as that of `RatingsReader`, and ConfigError where template or words do not fit the file.
    """

    read: Callable[[Path, SampleTemplate, Domain | None, SourceOptions], PublishedSamples]
