"""What a source's users think of each title: how many met it, how many of them liked it, and how they rank it.

A model takes this table along, so that it knows a title in any catalogue. Counts are kept by *fold* of users, and what
is said about a user leaves that user's fold out: no label ever tells itself, in training or later.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from recalign.data.catalog import MISSING_TEXT, ItemCatalog
from recalign.data.like_rule import LikeRule
from recalign.data.schema import HistoryEntry
from recalign.data.taste import own_ranks
from recalign.data.title_names import main_name, split_year
from recalign.errors import DataError

FOLDS: Final = 20  # many, because a twentieth of the users is not counted for users who were never counted, either
# Titles with few ratings are drawn towards the mean of all, as if they had this many ratings more.
PRIOR_RATINGS: Final = 5

_RULE: Final = "recalign.like_rule"

COUNTS: Final[dict[str, pl.DataType]] = {
    "title": pl.String(),
    "liked": pl.Array(pl.Int32(), FOLDS),
    "met": pl.Array(pl.Int32(), FOLDS),
    "ranks": pl.Array(pl.Int32(), FOLDS),
}
_WHOLE: Final = 1000  # ranks are summed as whole thousandths, so that their order does not matter


class Opinion(NamedTuple):
    """What other users think of a title.

    Attributes:
        share: How many of them like it, in [0, 1], drawn towards the share of all titles together.
        met: How many of them met it.
        rank: Where it stands among the ratings of each (`own_ranks`), on average; in [-0.5, 0.5], drawn towards 0.
    """

    share: float
    met: int
    rank: float


class TitleCounts:
    """Users of each fold who met a title, who liked it, and the sum of its ranks among theirs; `FOLDS` numbers each."""

    __slots__ = ("_sums", "liked", "met", "ranks")

    def __init__(self, liked: Iterable[int], met: Iterable[int], ranks: Iterable[int]) -> None:
        self.liked, self.met, self.ranks = tuple(liked), tuple(met), tuple(ranks)
        self._sums = sum(self.liked), sum(self.met), sum(self.ranks)

    @classmethod
    def joined(cls, parts: Iterable[TitleCounts]) -> TitleCounts:
        """The counts of all of them together."""
        none = cls(*[[0] * FOLDS] * 3)
        columns = [(part.liked, part.met, part.ranks) for part in (none, *parts)]
        return cls(*(map(sum, zip(*column, strict=True)) for column in zip(*columns, strict=True)))

    def without(self, fold: int) -> tuple[int, int, int]:
        """The users of all other folds: how many liked it, how many met it, and the sum of its ranks."""
        liked, met, ranks = self._sums
        return liked - self.liked[fold], met - self.met[fold], ranks - self.ranks[fold]


@dataclass(frozen=True)
class TitleKnowledge:
    """Counts by `title_key`, of the titles that somebody met; and the rule that likes follow, where it was learnt."""

    counts: Mapping[str, TitleCounts]
    rule: LikeRule | None = None
    _total: TitleCounts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_total", TitleCounts.joined(self.counts.values()))

    @classmethod
    def count(cls, users: Iterable[tuple[ItemCatalog, str, Iterable[HistoryEntry]]]) -> TitleKnowledge:
        """Count events: per user the catalogue of their items, their id, and all that may be known of them."""
        counts: dict[str, tuple[list[int], ...]] = defaultdict(lambda: tuple([0] * FOLDS for _ in range(3)))
        for catalog, user_id, events in users:
            fold, entries = fold_of(user_id), tuple(events)
            for entry, rank in zip(entries, own_ranks(entries), strict=True):
                title = catalog.title(entry.item_id)
                if title == MISSING_TEXT:
                    continue
                liked, met, ranks = counts[title_key(title)]
                liked[fold] += int(entry.liked)
                met[fold] += 1
                ranks[fold] += round(_WHOLE * rank)
        return cls({key: TitleCounts(*counts[key]) for key in sorted(counts)})

    def with_counts(self, others: TitleKnowledge) -> TitleKnowledge:
        """The counts of both together; nobody may be in both."""
        both = [self.counts, others.counts]
        keys = sorted(self.counts.keys() | others.counts.keys())
        joined = {key: TitleCounts.joined(counts[key] for counts in both if key in counts) for key in keys}
        return TitleKnowledge(joined, self.rule)

    @classmethod
    def read(cls, path: Path) -> TitleKnowledge:
        """Read what `write` wrote. Raises DataError where it is no such table."""
        try:
            frame, rule = pl.read_parquet(path), pl.read_parquet_metadata(path).get(_RULE)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"cannot read the title counts {path}", found=str(error)) from error
        if dict(frame.schema) != COUNTS:
            raise DataError(f"title counts {path}", found=str(dict(frame.schema)), expected=str(COUNTS))
        counts = {key: TitleCounts(*columns) for key, *columns in frame.iter_rows()}
        return cls(counts, LikeRule.from_json(rule) if rule else None)

    def write(self, path: Path) -> None:
        """Write the counts as Parquet."""
        rows = [(key, title.liked, title.met, title.ranks) for key, title in self.counts.items()]
        metadata = {} if self.rule is None else {_RULE: self.rule.to_json()}
        pl.DataFrame(rows, schema=COUNTS, orient="row").write_parquet(path, metadata=metadata)

    def opinion(self, key: str, fold: int) -> Opinion:
        """What the users of all folds but one think of a title.

        The share is (liked + 5 · mean) / (met + 5), where mean is the share of all titles together, or 0.5 where nobody
        is left at all. The rank is the sum of ranks / (met + 5).
        """
        all_liked, all_met, _ = self._total.without(fold)
        mean = all_liked / all_met if all_met else 0.5
        counts = self.counts.get(key)
        liked, met, ranks = (0, 0, 0) if counts is None else counts.without(fold)
        weight = met + PRIOR_RATINGS
        return Opinion((liked + PRIOR_RATINGS * mean) / weight, met, ranks / _WHOLE / weight)


def fold_of(user_id: str) -> int:
    """The fold of a user: the same in every process, and whatever else the data holds."""
    return zlib.crc32(user_id.encode("utf-8", "surrogatepass")) % FOLDS


@lru_cache(maxsize=1 << 17)
def title_key(title: str) -> str:
    """Under which name a title is counted: *Matrix, The (1999)* and *The Matrix (1999)* are one.

    A title without a letter or digit stands for itself.
    """
    base, year = split_year(title)
    name = main_name(base)
    return f"{name} {year}" if name and year is not None else name or title
