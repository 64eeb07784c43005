"""Users alike and what they vote for, on sparse matrices: the arithmetic of user filtering, without ids or files.

A query is a short multi-hot vector (a history of some ten items). Only the columns of its own items are read, and their
users counted in one accumulator that serves all queries in turn. So memory grows linearly with the interactions, and a
users×users matrix never exists. The result is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recalign.errors import ConfigError

Similarity = Literal["cosine", "dot"]
Int = NDArray[np.int64]
Float = NDArray[np.float64]

NOBODY: Final = -1  # fills the places of neighbours and items that do not exist


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The users most similar to each query, most similar first.

    Attributes:
        users: Row numbers, shape (queries, k); `NOBODY` where fewer than k users share an item with the query.
        weights: Similarities divided by their sum over the query's neighbours, shape (queries, k); 0 beside `NOBODY`.
    """

    users: Int
    weights: Float


class UserIndex:
    """Who interacted with what, readable by user and by item. Read-only apart from its own scratch space."""

    def __init__(self, users: csr_matrix) -> None:
        """Index a users × items matrix; an entry that is stored counts as 1, whatever its value."""
        self.users = users
        self.n_users, self.n_items = users.shape
        self._degrees = np.diff(users.indptr).astype(np.float64)
        by_item = csr_matrix((np.ones(users.nnz, np.int8), users.indices, users.indptr), shape=users.shape).tocsc()
        self._starts, self._columns = by_item.indptr, by_item.indices
        self._common = np.zeros(self.n_users, dtype=np.uint16)

    def nearest(
        self, queries: csr_matrix, k: int, similarity: Similarity = "cosine", own: Int | None = None
    ) -> Neighbours:
        """The k most similar users of each query; users with nothing in common are no neighbours.

        Args:
            queries: Multi-hot, queries × items; at most 65,535 items each.
            k: How many.
            similarity: "cosine", or "dot": the number of common items.
            own: The row of the user whom each query belongs to, who is not a neighbour; `NOBODY` where there is none.

        Returns:
            Equal similarities are ordered by row. The result does not depend on the other queries.

        Raises:
            ConfigError: `k` is below 1.
        """
        if k < 1:
            raise ConfigError(f"similar users {k}", expected="at least 1")
        count = queries.shape[0]
        users = np.full((count, k), NOBODY, dtype=np.int64)
        weights = np.zeros((count, k))
        for row in range(count):
            owner = NOBODY if own is None else int(own[row])
            neighbours, squared = self._nearest(_row(queries, row), k, similarity, owner)
            users[row, : neighbours.size] = neighbours
            values = np.sqrt(squared)
            weights[row, : neighbours.size] = values / values.sum() if neighbours.size else values
        return Neighbours(users, weights)

    def vote(self, neighbours: Neighbours, size: int, excluded: csr_matrix) -> Int:
        """The items with the greatest sum of the weights of the neighbours who have them.

        Args:
            neighbours: Of each query.
            size: Items per query.
            excluded: Queries × items; items that are stored here are not returned.

        Returns:
            Column numbers, shape (queries, size), best first, equal votes by column; `NOBODY` where there is no
            further item with a vote.
        """
        count = len(neighbours.users)
        result = np.full((count, size), NOBODY, dtype=np.int64)
        for row in range(count):
            votes = self._votes(neighbours.users[row], neighbours.weights[row])
            votes[_row(excluded, row)] = 0
            voted = np.flatnonzero(votes)
            best = _best(votes[voted], voted, size)
            result[row, : best.size] = voted[best]
        return result

    def _votes(self, users: Int, weights: Float) -> Float:
        rows = [_row(self.users, user) for user in users if user >= 0]
        if not rows:
            return np.zeros(self.n_items, dtype=np.float64)
        of_items = np.repeat(weights[: len(rows)], [row.size for row in rows])
        return np.bincount(np.concatenate(rows), weights=of_items, minlength=self.n_items).astype(np.float64)

    def _nearest(self, items: Any, k: int, similarity: Similarity, own: int) -> tuple[Int, Float]:
        """Rows of the k best for a query with these items, and their c² (dot) or c²/d (cosine) for c common items of d.

        These order like the similarities, and c²/d is one correctly rounded division: equal similarities stay equal.
        """
        common = self._common
        common[:] = 0
        for item in items:
            common[self._columns[self._starts[item] : self._starts[item + 1]]] += 1  # each user once in a column
        if own != NOBODY:
            common[own] = 0
        rows = np.flatnonzero(common)
        squared = common[rows].astype(np.float64) ** 2
        if similarity == "cosine":
            squared /= self._degrees[rows]
        best = _best(squared, rows, k)
        return rows[best], squared[best]


def _row(matrix: csr_matrix, row: int) -> Any:
    """The columns of a row's entries."""
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


def _best(values: Float, numbers: Int, k: int) -> Int:
    """Places of the k greatest values, greatest first; equal values by their number."""
    if values.size > k:
        kth = np.partition(values, values.size - k)[values.size - k]
        places = np.flatnonzero(values >= kth)  # the ties at the end, too: their numbers decide
    else:
        places = np.arange(values.size)
    order = np.lexsort((numbers[places], -values[places]))
    return places[order][:k]
