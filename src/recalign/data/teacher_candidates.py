"""Candidate sets by user filtering (TLRec §4.1, after Wang & Lim 2023): the items a teacher may recommend from.

For each positive sample of a split:

1. The sample's user is the multi-hot vector of its *history*. Neither its truth nor anything after it counts.
2. The other users are the multi-hot vectors of everything that the split shows of them, targets and histories, whatever
   the rating. (With implicit feedback the dislikes are sampled: nobody met those items, so only likes count.)
3. The 12 most similar other users vote for their items with their similarities, normalised to sum to 1. The sample's
   own user is never among them.
4. Items that the user has met before the target are excluded: those of the history and, since histories are cut to a
   window, those of the same user's earlier samples (rows of the table in its order). What the user met *afterwards* is
   not excluded: that only the truth of all future items may be in the set would give it away.
5. The 19 items with most votes are the set, in an order shuffled by seed. Where the truth is not among them, the sample
   is left out and counted.

By cosine a user of two items that the query shares is nearer than one of a hundred who shares five. Where many users
have few items, sets stay short, and ten picks hit almost surely (`CandidateStatistics.hit_chance`): ask for ``dot``.

Ties: similar users by user id, voted items by item id. Nothing depends on the other samples that are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_matrix

from recalign.data.neighbours import Similarity, UserIndex
from recalign.data.samples import SampleSet, liked_rows
from recalign.seeding import generator

RECOMMENDED: Final = 10  # items that a teacher picks from the set (TLRec, stage 3)


class CandidateConfig(BaseModel):
    """Parameters of user filtering; the defaults are TLRec's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    similar_users: int = Field(12, ge=1, description="Users who vote.")
    size: int = Field(19, ge=1, description="Items in a set; fewer where the users who vote have fewer.")
    similarity: Similarity = Field("cosine", description="cosine, or dot (common items): for users of few items.")
    seed: int = Field(0, ge=0, description="Seed of the order within a set, and of the draw of `limit`.")
    split: str = Field("train", description="Split whose positive samples get sets.")
    limit: int | None = Field(None, ge=1, description="Draw this many source samples first; all of them if not given.")


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """The candidate set of one sample: distinct item ids, the truth among them, in an order shuffled by seed."""

    sample_id: str
    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CandidateStatistics:
    """What became of the source samples.

    Attributes:
        considered: Positive samples for which a set was made: kept + truth_not_in_set.
        kept: Those whose truth is in their set.
        truth_not_in_set: Those left out because it is not.
        mean_size: Mean number of items in the sets kept; None where none is.
        hit_chance: Probability that ten items drawn at random from a kept set contain the truth (10/19 for full sets),
            averaged over the sets kept; None where none is.
    """

    considered: int
    kept: int
    truth_not_in_set: int
    mean_size: float | None
    hit_chance: float | None


def user_filtering(
    samples: SampleSet, config: CandidateConfig, *, block: int = 1024
) -> tuple[list[CandidateSet], CandidateStatistics]:
    """The candidate sets that contain their truth, in the order of the table, and what became of the others.

    `block` is the number of samples handled at once. It bounds the memory and changes no result.

    Raises:
        ConfigError: There is no such split.
        DataError: The split has no positive sample.
    """
    table = _Interactions(samples, config.split)
    queries = table.positives(config)
    index = UserIndex(table.users)
    sets: list[CandidateSet] = []
    for start in range(0, queries.height, block):
        part = queries[start : start + block]
        histories = table.histories(part)
        own = part["user"].to_numpy().astype(np.int64)
        neighbours = index.nearest(histories, config.similar_users, config.similarity, own)
        items = index.vote(neighbours, config.size, table.met_before(part, histories))
        hit = (items == part["item"].to_numpy()[:, None]).any(axis=1)
        sample_ids = part["sample_id"].to_list()
        for row in np.flatnonzero(hit):
            ids = table.item_ids[items[row][items[row] >= 0]]
            order = generator(config.seed, "candidates", "order", sample_ids[row]).permutation(len(ids))
            sets.append(CandidateSet(sample_ids[row], tuple(ids[order].tolist())))
    sizes = np.array([len(candidates.item_ids) for candidates in sets])
    return sets, CandidateStatistics(
        considered=queries.height,
        kept=len(sets),
        truth_not_in_set=queries.height - len(sets),
        mean_size=float(sizes.mean()) if sets else None,
        hit_chance=float((np.minimum(RECOMMENDED, sizes) / sizes).mean()) if sets else None,
    )


class _Interactions:
    """One split as a users × items matrix whose entries are the moment of the first interaction, counted from 1.

    Row r of the split's table has its target at moment 2r + 2 and meets its history by moment 2r + 1.
    """

    def __init__(self, samples: SampleSet, split: str) -> None:
        frame = samples.frame(split).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        entries = frame.select("row", "user_id", "history").explode("history").drop_nulls("history").unnest("history")
        entries = entries.select("row", "user_id", "item_id", "liked")
        met = frame
        if samples.implicit:
            met, entries = frame.filter(pl.col("label") == 1), entries.filter("liked")
        user_ids = frame["user_id"].unique().sort()
        item_ids = pl.concat([frame["item_id"], entries["item_id"]]).unique().sort()
        self.item_ids: NDArray[np.object_] = item_ids.to_numpy().astype(object)
        users, items = pl.Enum(user_ids), pl.Enum(item_ids)
        codes = [
            pl.col("user_id").cast(users).to_physical().cast(pl.Int64).alias("user"),
            pl.col("item_id").cast(items).to_physical().cast(pl.Int64).alias("item"),
        ]
        self._frame = frame.select("sample_id", "label", "row", *codes)
        self._entries = entries.select("row", *codes).unique().sort("row", "item")
        targets = met.select(*codes, moment=2 * pl.col("row") + 2)
        histories = self._entries.select("user", "item", moment=2 * pl.col("row") + 1)
        first = pl.concat([targets, histories]).group_by("user", "item").agg(pl.col("moment").min())
        self.users = _matrix(first.sort("user", "item").select("moment", "user", "item"), len(user_ids), len(item_ids))

    def positives(self, config: CandidateConfig) -> pl.DataFrame:
        """The source samples: the positive ones, or `limit` of them drawn by seed, in the order of the table."""
        positive = liked_rows(self._frame, config.split)
        if config.limit is None or config.limit >= positive.height:
            return positive
        drawn = generator(config.seed, "candidates", "limit").permutation(positive.height)[: config.limit]
        return positive[np.sort(drawn)]

    def histories(self, queries: pl.DataFrame) -> csr_matrix:
        """Multi-hot histories, queries × items."""
        numbered = queries.select("row").with_row_index("query")
        entries = self._entries.join(numbered, on="row").sort("query", "item")
        return _matrix(entries.select(pl.repeat(1, pl.len()), "query", "item"), queries.height, len(self.item_ids))

    def met_before(self, queries: pl.DataFrame, histories: csr_matrix) -> csr_matrix:
        """What each query's user has met before its target: queries × items."""
        past = self.users[queries["user"].to_numpy()]
        moments = np.repeat(2 * queries["row"].to_numpy() + 1, np.diff(past.indptr))
        past.data = (past.data <= moments).astype(np.int64)
        past.eliminate_zeros()
        return csr_matrix(past + histories)


def _matrix(entries: pl.DataFrame, rows: int, items: int) -> csr_matrix:
    """From a table of values, rows and items; the entries are distinct and sorted by row and item."""
    values, row, item = (column.to_numpy() for column in entries)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    return csr_matrix((values, item, starts), shape=(rows, items))
