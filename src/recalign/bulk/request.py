"""What bulk scoring is asked for (`Request`), and which part of it one worker does (`Share`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from recalign.bulk.places import Place
from recalign.data.source import SourceOptions
from recalign.errors import ConfigError
from recalign.recommender import Selection

SHARDS: Final = 20
HISTORY: Final = 50  # as many of a user's last items as the server takes
TOP: Final = 10


@dataclass(frozen=True)
class Share:
    """The shards of one of several workers: those whose number is `index` modulo `of`."""

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            expected = "I/N with I from 0 to N - 1, such as 0/4"
            raise ConfigError("share of the shards", found=f"{self.index}/{self.of}", expected=expected)

    @classmethod
    def parse(cls, text: str) -> Share:
        """From a text such as ``2/4``. Raises ConfigError for others."""
        index, _, of = text.partition("/")
        if not (index.isdecimal() and of.isdecimal()):
            raise ConfigError("--shard", found=repr(text), expected="I/N, such as 0/4: the first of four workers")
        return cls(int(index), int(of))

    def of_all(self, shards: int) -> range:
        """The numbers of this worker's shards."""
        return range(self.index, shards, self.of)


@dataclass(frozen=True)
class Request:
    """What to score.

    Attributes:
        users: The table of events: a file, or a folder of numbered part files.
        source: What its columns are called, and so on.
        like_above: Ratings above this are likes; for tables with ratings only.
        max_history: How many of a user's last events are the history.
        k: How many items per user. None: 10, or those of `pairs`.
        selection: Which items may come back, and how they are chosen. Not for pairs.
        pairs: A table with `user_id` and `item_id`, whose scores are wanted instead of the best items.
        shards: In how many parts the scores are written.
    """

    users: Place
    source: SourceOptions = field(default_factory=SourceOptions)
    like_above: float | None = None
    max_history: int = HISTORY
    k: int | None = None
    selection: Selection = field(default_factory=Selection)
    pairs: Place | None = None
    shards: int = SHARDS

    def __post_init__(self) -> None:
        for name, value in (("shards", self.shards), ("max_history", self.max_history), ("k", self.top)):
            if value < 1:
                raise ConfigError(name, found=str(value), expected="at least 1")
        if self.pairs is not None and (self.k is not None or self.selection != Selection()):
            found = "a number of items, or filters"
            raise ConfigError("scores of given pairs", found=found, expected="neither: the pairs say what is scored")

    @property
    def top(self) -> int:
        """How many items per user."""
        return TOP if self.k is None else self.k

    def settings(self, *, indexed: bool) -> dict[str, object]:
        """All that decides the scores beside input and model, as JSON gives it back (2 and 2.0 are not one there)."""
        settings: dict[str, object] = {
            "shards": self.shards,
            "max_history": self.max_history,
            "like_above": None if self.like_above is None else float(self.like_above),
            "source": self.source.model_dump(mode="json", exclude_defaults=True),
        }
        if self.pairs is None:
            filters = self.selection.filters
            settings |= {
                "k": self.top,
                "exclude_seen": filters.exclude_seen,
                "only": sorted(list(pair) for pair in filters.only),
                "without": sorted(filters.without),
                "diversity": float(self.selection.diversity),
                "retrieve": self.selection.retrieve if indexed else None,
            }
        return settings
