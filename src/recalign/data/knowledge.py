"""What a source's users think of each title: how many liked it, of how many who met it.

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
from typing import Final

import polars as pl

from recalign.data.catalog import MISSING_TEXT, ItemCatalog
from recalign.data.like_rule import LikeRule
from recalign.data.schema import HistoryEntry
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
}


class TitleCounts:
    """Users of each fold who liked a title, and who met it; `FOLDS` numbers each."""

    __slots__ = ("_all_liked", "_all_met", "liked", "met")

    def __init__(self, liked: Iterable[int], met: Iterable[int]) -> None:
        self.liked, self.met = tuple(liked), tuple(met)
        self._all_liked, self._all_met = sum(self.liked), sum(self.met)

    def without(self, fold: int) -> tuple[int, int]:
        """How many users of all other folds liked it, and how many met it."""
        return self._all_liked - self.liked[fold], self._all_met - self.met[fold]


@dataclass(frozen=True)
class TitleKnowledge:
    """Counts by `title_key`, of the titles that somebody met; and the rule that likes follow, where it was learnt."""

    counts: Mapping[str, TitleCounts]
    rule: LikeRule | None = None
    _total: TitleCounts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        titles = self.counts.values()
        liked = map(sum, zip(*(title.liked for title in titles), strict=True)) if titles else [0] * FOLDS
        met = map(sum, zip(*(title.met for title in titles), strict=True)) if titles else [0] * FOLDS
        object.__setattr__(self, "_total", TitleCounts(liked, met))

    @classmethod
    def count(cls, users: Iterable[tuple[ItemCatalog, str, Iterable[HistoryEntry]]]) -> TitleKnowledge:
        """Count events: per user the catalogue of their items, their id, and all that may be known of them."""
        liked: dict[str, list[int]] = defaultdict(lambda: [0] * FOLDS)
        met: dict[str, list[int]] = defaultdict(lambda: [0] * FOLDS)
        for catalog, user_id, entries in users:
            fold = fold_of(user_id)
            for entry in entries:
                title = catalog.title(entry.item_id)
                if title == MISSING_TEXT:
                    continue
                key = title_key(title)
                met[key][fold] += 1
                liked[key][fold] += int(entry.liked)
        return cls({key: TitleCounts(liked[key], met[key]) for key in sorted(met)})

    def with_counts(self, others: TitleKnowledge) -> TitleKnowledge:
        """The counts of both together; nobody may be in both."""
        counts = dict(self.counts)
        for key, title in others.counts.items():
            known = counts.get(key)
            if known is not None:
                pairs = zip(known.liked, title.liked, strict=True), zip(known.met, title.met, strict=True)
                title = TitleCounts(*(map(sum, columns) for columns in pairs))
            counts[key] = title
        return TitleKnowledge({key: counts[key] for key in sorted(counts)}, self.rule)

    @classmethod
    def read(cls, path: Path) -> TitleKnowledge:
        """Read what `write` wrote. Raises DataError where it is no such table."""
        try:
            frame, rule = pl.read_parquet(path), pl.read_parquet_metadata(path).get(_RULE)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"cannot read the title counts {path}", found=str(error)) from error
        if dict(frame.schema) != COUNTS:
            raise DataError(f"title counts {path}", found=str(dict(frame.schema)), expected=str(COUNTS))
        counts = {key: TitleCounts(liked, met) for key, liked, met in frame.iter_rows()}
        return cls(counts, LikeRule.from_json(rule) if rule else None)

    def write(self, path: Path) -> None:
        """Write the counts as Parquet."""
        rows = [(key, list(title.liked), list(title.met)) for key, title in self.counts.items()]
        metadata = {} if self.rule is None else {_RULE: self.rule.to_json()}
        pl.DataFrame(rows, schema=COUNTS, orient="row").write_parquet(path, metadata=metadata)

    def share(self, key: str, fold: int) -> tuple[float, int]:
        """How much a title is liked, and by how many it was met, without the users of `fold`.

        The share is (liked + 5 · mean) / (met + 5), in [0, 1], where mean is the share of all titles together. It is
        0.5 where nobody is left at all.
        """
        all_liked, all_met = self._total.without(fold)
        mean = all_liked / all_met if all_met else 0.5
        counts = self.counts.get(key)
        liked, met = (0, 0) if counts is None else counts.without(fold)
        return (liked + PRIOR_RATINGS * mean) / (met + PRIOR_RATINGS), met


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
