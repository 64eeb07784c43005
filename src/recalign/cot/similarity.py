"""How alike two items are: by who met both (without the user at hand), and by genres and author.

Items i and j that n_i and n_j users met, c of them both, have the damped cosine c / √((n_i + λ)(n_j + λ)). For a
user's case all three counts leave this user out, so nothing that this user ever did, the truth of the case above all,
is in them.

Memory grows with interactions and with blocks of item pairs; an items×items matrix never exists at once. Of more than
five million interactions, those of a seeded draw of users are counted: enough for every item that anyone asks about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import SampleSet
from recalign.seeding import generator

Int = NDArray[np.int64]
Float = NDArray[np.float32]

UNKNOWN: Final = -1
DAMPING: Final = 5.0  # λ: a pair that two people met is no proof yet
MOST_INTERACTIONS: Final = 5_000_000
_BLOCK: Final = 1024  # items whose counts with all others are held at once


class ItemSimilarity:
    """Similarities of items within one split of a prepared data set."""

    def __init__(self, samples: SampleSet, split: str, *, seed: int = 0, most: int = MOST_INTERACTIONS) -> None:
        """Count who met what in a split, whatever they thought of it; nobody met sampled negatives.

        `seed` is that of the draw of users, where there are more than `most` interactions.
        """
        pairs = _met(samples, split)
        catalog = samples.catalog
        self.items = {item: code for code, item in enumerate(catalog.ids)}
        user_ids = pairs["user_id"].unique().sort()
        self._users = {user: code for code, user in enumerate(user_ids)}
        users = _codes(pairs["user_id"], user_ids)
        items = _codes(pairs["item_id"], pl.Series(catalog.ids))
        kept = _draw_users(users, len(user_ids), most, generator(seed, "teacher", "similarity"))
        users, items = users[kept], items[kept]
        shape = (len(user_ids), len(catalog))
        self._met = csc_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
        self._counts = np.asarray(self._met.sum(axis=0), dtype=np.float32).ravel()
        self._keys = np.sort(users * shape[1] + items)
        self._genres, self._authors = _genres(catalog), _authors(catalog)

    def codes(self, item_ids: Sequence[str]) -> Int:
        """Numbers of items; `UNKNOWN` for one that is not in the catalogue."""
        return np.array([self.items.get(item, UNKNOWN) for item in item_ids], dtype=np.int64)

    def met_by_others(self, user_ids: Sequence[str], left: Int, right: Int) -> Float:
        """The damped cosine of every pair, without the user of its row, of whom there is one per row.

        Item numbers of shapes (rows, m) and (rows, n) give values in [0, 1) of shape (rows, m, n); 0 where one of the
        two is `UNKNOWN`.
        """
        users = np.array([self._users.get(user, UNKNOWN) for user in user_ids], dtype=np.int64)
        own_left, own_right = self._is_met(users, left), self._is_met(users, right)
        common = self._common(left, right) - own_left[:, :, None] * own_right[:, None, :]
        n_left = self._counts[left] - own_left + DAMPING
        n_right = self._counts[right] - own_right + DAMPING
        cosine = common / np.sqrt(n_left[:, :, None] * n_right[:, None, :])
        known = (left != UNKNOWN)[:, :, None] & (right != UNKNOWN)[:, None, :]
        return np.asarray(np.where(known, cosine, 0), dtype=np.float32)

    def content(self, left: Int, right: Int) -> Float:
        """Cosine of genres, plus 1 for the same author; shapes as in `met_by_others`, in [0, 2]."""
        alike = np.zeros((*left.shape, right.shape[1]), dtype=np.float32)
        if self._genres is not None:
            alike += np.einsum("rmg,rng->rmn", self._genres[left], self._genres[right])
        if self._authors is not None:
            author, authors = self._authors[left][:, :, None], self._authors[right][:, None, :]
            alike += (author == authors) & (author != UNKNOWN)
        known = (left != UNKNOWN)[:, :, None] & (right != UNKNOWN)[:, None, :]
        return np.asarray(np.where(known, alike, 0), dtype=np.float32)

    def _is_met(self, users: Int, items: Int) -> Float:
        """1 where the row's user met the item (and is counted at all), else 0."""
        keys = users[:, None] * self._met.shape[1] + items
        place = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        counted = self._keys[place] == keys if len(self._keys) else np.zeros(keys.shape, dtype=bool)
        return np.asarray(counted & (users[:, None] != UNKNOWN) & (items != UNKNOWN), dtype=np.float32)

    def _common(self, left: Int, right: Int) -> Float:
        """Number of users who met both, block by block of left items; shape (rows, m, n)."""
        common = np.zeros((*left.shape, right.shape[1]), dtype=np.float32)
        columns, right_place = np.unique(right, return_inverse=True)
        right_place = right_place.reshape(right.shape)
        others = self._met[:, columns]  # UNKNOWN reads the last column here; `met_by_others` blanks it out
        asked = np.unique(left[left != UNKNOWN])
        for start in range(0, len(asked), _BLOCK):
            block = asked[start : start + _BLOCK]
            counts = (self._met[:, block].T @ others).toarray()
            rows, places = np.nonzero(np.isin(left, block))
            within = np.searchsorted(block, left[rows, places])
            common[rows, places] = counts[within[:, None], right_place[rows]]
        return common


def _met(samples: SampleSet, split: str) -> pl.DataFrame:
    """Distinct (user, item) pairs of a split."""
    frame = samples.frame(split)
    entries = frame.select("user_id", "history").explode("history").drop_nulls("history").unnest("history")
    if samples.implicit:
        frame, entries = frame.filter(pl.col("label") == 1), entries.filter("liked")
    both = [part.select("user_id", "item_id") for part in (frame, entries)]
    return pl.concat(both).unique().sort("user_id", "item_id")


def _codes(values: pl.Series, known: pl.Series) -> Int:
    codes = values.cast(pl.Enum(known)).to_physical().cast(pl.Int64)
    return np.asarray(codes.to_numpy(), dtype=np.int64)


def _draw_users(users: Int, count: int, most: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which interactions are counted: all, or those of as many users, in random order, as give `most`."""
    if len(users) <= most:
        return np.ones(len(users), dtype=bool)
    order = rng.permutation(count)
    total = np.cumsum(np.bincount(users, minlength=count)[order])
    drawn = np.zeros(count, dtype=bool)
    drawn[order[total <= most]] = True
    return drawn[users]


def _genres(catalog: ItemCatalog) -> Float | None:
    """Multi-hot genres of length 1 (0 without genres), shape (items, genres); None where no item has any."""
    long = catalog.frame.select("genres").with_row_index("item").explode("genres").drop_nulls()
    if long.is_empty():
        return None
    names = long["genres"].unique().sort()
    codes = np.zeros((len(catalog), len(names)), dtype=np.float32)
    codes[long["item"].to_numpy(), _codes(long["genres"], names)] = 1
    norms = np.sqrt((codes**2).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(codes, norms, out=np.zeros_like(codes), where=norms > 0), dtype=np.float32)


def _authors(catalog: ItemCatalog) -> Int | None:
    """A number per author, `UNKNOWN` without one; None where no item has any."""
    authors = catalog.frame["author"].str.strip_chars().replace("", None)
    if authors.null_count() == len(authors):
        return None
    ranks = authors.rank("dense").cast(pl.Int64).fill_null(UNKNOWN)
    return np.asarray(ranks.to_numpy(), dtype=np.int64)
