"""What a source's users think of each title: how many liked it, of how many who met it.

A model takes this table along, so that it knows a title in any catalogue. Counts are kept by *fold* of users, and what
is shown about a user leaves that user's fold out: no label ever tells itself, in training or later.
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

from recalign.data.catalog import ItemCatalog
from recalign.data.schema import HistoryEntry
from recalign.data.title_names import main_name, split_year
from recalign.errors import DataError

FOLDS: Final = 5
# Titles with few ratings are drawn towards the mean of all, as if they had this many ratings more.
PRIOR_RATINGS: Final = 5

COUNTS: Final[dict[str, pl.DataType]] = {
    "title": pl.String(),
    "liked": pl.Array(pl.Int64(), FOLDS),
    "met": pl.Array(pl.Int64(), FOLDS),
}


@dataclass(frozen=True, slots=True)
class TitleCounts:
    """Users of each fold who liked a title, and who met it; `FOLDS` numbers each."""

    liked: tuple[int, ...]
    met: tuple[int, ...]


@dataclass(frozen=True)
class TitleKnowledge:
    """Counts by `title_key`.

    Attributes:
        counts: Titles that somebody met.
        datasets: Names of the datasets that were counted. Their users are known, so a fold is left out for each.
    """

    counts: Mapping[str, TitleCounts]
    datasets: frozenset[str] = frozenset()
    _totals: TitleCounts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sums = [[0] * FOLDS, [0] * FOLDS]
        for title in self.counts.values():
            for fold in range(FOLDS):
                sums[0][fold] += title.liked[fold]
                sums[1][fold] += title.met[fold]
        object.__setattr__(self, "_totals", TitleCounts(tuple(sums[0]), tuple(sums[1])))

    @classmethod
    def count(
        cls,
        users: Iterable[tuple[ItemCatalog, str, Iterable[HistoryEntry]]],
        datasets: Iterable[str],
    ) -> TitleKnowledge:
        """Count events: per user the catalogue of their items, their id, and all that may be known of them."""
        liked: dict[str, list[int]] = defaultdict(lambda: [0] * FOLDS)
        met: dict[str, list[int]] = defaultdict(lambda: [0] * FOLDS)
        for catalog, user_id, entries in users:
            fold = fold_of(user_id)
            for entry in entries:
                key = title_key(catalog.title(entry.item_id))
                met[key][fold] += 1
                liked[key][fold] += int(entry.liked)
        counts = {key: TitleCounts(tuple(liked[key]), tuple(met[key])) for key in sorted(met)}
        return cls(counts, frozenset(datasets))

    @classmethod
    def read(cls, path: Path, datasets: Iterable[str]) -> TitleKnowledge:
        """Read what `write` wrote. Raises DataError where it is no such table."""
        try:
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"cannot read the title counts {path}", found=str(error)) from error
        if dict(frame.schema) != COUNTS:
            raise DataError(f"title counts {path}", found=str(dict(frame.schema)), expected=str(COUNTS))
        rows = frame.iter_rows()
        counts = {key: TitleCounts(tuple(liked), tuple(met)) for key, liked, met in rows}
        return cls(counts, frozenset(datasets))

    def write(self, path: Path) -> None:
        """Write the counts as Parquet."""
        rows = [(key, list(title.liked), list(title.met)) for key, title in self.counts.items()]
        pl.DataFrame(rows, schema=COUNTS, orient="row").write_parquet(path)

    def knows_users_of(self, dataset: str) -> bool:
        """Whether users of this dataset may have been counted."""
        return dataset in self.datasets

    def share(self, key: str, fold: int | None) -> tuple[float, int]:
        """How much a title is liked, and by how many it was met, without the users of `fold` (None: all users).

        The share is (liked + 5 · mean) / (met + 5), in [0, 1], where mean is the share of all titles together. It is
        0.5 where nobody is left at all.
        """
        mean = _rate(*_without(self._totals, fold))
        counts = self.counts.get(key)
        liked, met = (0, 0) if counts is None else _without(counts, fold)
        return (liked + PRIOR_RATINGS * mean) / (met + PRIOR_RATINGS), met


def _without(counts: TitleCounts, fold: int | None) -> tuple[int, int]:
    liked, met = sum(counts.liked), sum(counts.met)
    return (liked, met) if fold is None else (liked - counts.liked[fold], met - counts.met[fold])


def _rate(liked: int, met: int) -> float:
    return liked / met if met else 0.5


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
