"""Who met what in the train split, as a sparse matrix that holds no user's name."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import polars as pl
import scipy.sparse as sp

from recalign.baselines.priors import train_interactions
from recalign.data.samples import SampleSet
from recalign.retrieval.stock import Stock

Interactions: TypeAlias = sp.csr_array  # items × users, 1 where the user met the item


def interactions_of(data: SampleSet, stock: Stock, users: frozenset[str] | None = None) -> Interactions:
    """The interactions of the train split, of all users or of these.

    Liked or not, an item was met, and that says most about what its user meets next. Sampled negatives were not met.

    Raises:
        DataError: The train split has no samples.
    """
    pairs = train_interactions(data)
    if data.implicit:
        pairs = pairs.filter(pl.col("liked") > 0)
    if users is not None:
        pairs = pairs.filter(pl.col("user_id").is_in(list(users)))
    known = pl.DataFrame({"item_id": stock.catalog.ids, "place": np.arange(len(stock))})
    pairs = pairs.join(known, on="item_id").sort("user_id", "place")
    numbers = pairs["user_id"].rle_id().to_numpy().astype(np.int64)
    ones = np.ones(pairs.height, dtype=np.float32)
    shape = (len(stock), int(numbers.max(initial=-1)) + 1)
    return sp.csr_array((ones, (pairs["place"].to_numpy(), numbers)), shape=shape)
