"""Similar users and their votes, against the same arithmetic on dense matrices, spelled out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recalign.data.neighbours import NOBODY, Neighbours, Similarity, UserIndex
from recalign.errors import ConfigError

Bool = NDArray[np.bool_]


def spelled_out(users: Bool, query: Bool, k: int, similarity: Similarity, own: int) -> list[tuple[int, Fraction]]:
    """Row and squared similarity (without the query's length) of the k nearest, in exact arithmetic."""
    found = []
    for row, user in enumerate(users):
        common = int((user & query).sum())
        if common and row != own:
            found.append((row, Fraction(common**2, int(user.sum()) if similarity == "cosine" else 1)))
    return sorted(found, key=lambda each: (-each[1], each[0]))[:k]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    similarity=st.sampled_from(["cosine", "dot"]),
    k=st.integers(1, 6),
)
def test_neighbours_are_those_of_exact_arithmetic(seed: int, similarity: Similarity, k: int) -> None:
    rng = np.random.default_rng(seed)
    users = rng.random((30, 12)) < rng.random((30, 1)) * rng.random(12)
    queries = rng.random((5, 12)) < 0.3
    own = rng.integers(NOBODY, 30, 5)
    result = UserIndex(csr_matrix(users)).nearest(csr_matrix(queries), k, similarity, own)
    for row in range(5):
        expected = spelled_out(users, queries[row], k, similarity, int(own[row]))
        found = result.users[row][result.users[row] != NOBODY]
        assert found.tolist() == [user for user, _ in expected]
        values = np.sqrt([float(squared) for _, squared in expected])
        assert result.weights[row, : found.size] == pytest.approx(values / values.sum() if found.size else [])
        assert not result.weights[row, found.size :].any()


def test_votes_by_hand() -> None:
    users = csr_matrix(np.array([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 1, 0]]))
    asked = Neighbours(np.array([[2, 1, NOBODY], [NOBODY] * 3]), np.array([[0.6, 0.4, 0], [0, 0, 0]]))
    nothing = csr_matrix((2, 5), dtype=np.int64)
    # items 0: .6, 1: .4, 2: .4, 3: 1; equal votes by column
    assert UserIndex(users).vote(asked, 4, nothing).tolist() == [[3, 0, 1, 2], [NOBODY] * 4]
    assert UserIndex(users).vote(asked, 2, nothing)[0].tolist() == [3, 0]
    excluded = csr_matrix(np.array([[1, 0, 0, 1, 0], [0] * 5]))
    assert UserIndex(users).vote(asked, 4, excluded)[0].tolist() == [1, 2, NOBODY, NOBODY]


def test_a_stored_entry_counts_as_one_whatever_its_value() -> None:
    users = np.array([[5, 0, 9], [1, 1, 0]])
    query = csr_matrix(np.array([[3, 0, 0]]))
    plain = UserIndex(csr_matrix((users > 0).astype(int))).nearest(query, 2)
    assert UserIndex(csr_matrix(users)).nearest(query, 2).weights.tolist() == plain.weights.tolist() == [[0.5, 0.5]]


def test_a_query_does_not_change_the_next_one() -> None:
    rng = np.random.default_rng(0)
    index = UserIndex(csr_matrix(rng.random((40, 10)) < 0.4))
    queries = csr_matrix(rng.random((6, 10)) < 0.4)
    together = index.nearest(queries, 4)
    for row in range(6):
        assert index.nearest(queries[row], 4).users[0].tolist() == together.users[row].tolist()


def test_no_user_to_ask_for_is_an_error() -> None:
    with pytest.raises(ConfigError, match="similar users 0"):
        UserIndex(csr_matrix(np.eye(3))).nearest(csr_matrix(np.eye(3)), 0)
