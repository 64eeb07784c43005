"""Time and memory of user filtering: 10,000 real source samples, and generated ratings in Netflix's shape.

    RECALIGN_DATA=/path/to/data python benchmarks/candidates.py
    python benchmarks/candidates.py --netflix-shape [--queries 10000]

The first prints the time of `user_filtering` on MovieLens latest-small. The second generates ratings with Netflix's
numbers and skew for 120,000, 240,000 and 480,000 users (17,700 items, 208 ratings per user), each in a process of its
own, and prints the time for the exact neighbours and sets of the query users, the peak memory, and a check of some of
them against a plain sparse product.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from recalign.data.neighbours import UserIndex
from recalign.data.samples import SampleSet
from recalign.data.teacher_candidates import CandidateConfig, user_filtering
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.seeding import generator

ITEMS = 17_700
USERS = (120_000, 240_000, 480_000)
HISTORY, NEIGHBOURS, SIZE = 10, 12, 19
# Item weights (rank + 250)^-1.75 and lognormal user activity give 208 distinct items per user, a most popular item that
# 43 % of the users rated (Netflix: 48 %) and counts with sd/mean above 3 (Netflix: 3.0).
EXPONENT, OFFSET, DRAWS, SIGMA = 1.75, 250.0, 264.0, 1.06
CHECKED = 20


def real(samples: int) -> None:
    """10,000 source samples of MovieLens latest-small."""
    folder = os.environ.get("RECALIGN_DATA")
    if not folder:
        raise SystemExit("RECALIGN_DATA names no folder with ml-latest-small in it")
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"dataset": "movielens", "input": Path(folder) / "ml-latest-small", "protocol": "leave-one-out"}
        prepare(PrepareConfig.build(**settings, output=Path(scratch) / "data", max_rendered=1))
        data = SampleSet.load(Path(scratch) / "data")
        start = time.perf_counter()
        _, statistics = user_filtering(data, CandidateConfig(limit=samples))
        seconds = time.perf_counter() - start
    print(f"ml-latest-small, leave-one-out: {statistics.considered:,} source samples in {seconds:.2f} s")
    print(f"  kept {statistics.kept:,}, truth not in the set {statistics.truth_not_in_set:,}")
    print(f"  chance that ten random items of a set hit the truth: {statistics.hit_chance}")


def ratings(users: int) -> csr_matrix:
    """Users × items in Netflix's shape; each user's items are distinct."""
    rng = generator(0, "benchmark", "ratings")
    weights = (np.arange(ITEMS) + OFFSET) ** -EXPONENT
    ladder = np.cumsum(weights / weights.sum())
    draws = np.maximum(1, DRAWS * rng.lognormal(-(SIGMA**2) / 2, SIGMA, users)).astype(np.int64)
    parts, counts = [], []
    for start in range(0, users, 4000):
        part = draws[start : start + 4000]
        items = np.minimum(np.searchsorted(ladder, rng.random(part.sum())), ITEMS - 1)
        distinct = np.unique(np.repeat(np.arange(part.size), part) * ITEMS + items)
        parts.append((distinct % ITEMS).astype(np.int32))
        counts.append(np.bincount(distinct // ITEMS, minlength=part.size))
    items = np.concatenate(parts)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32)
    return csr_matrix((np.ones(items.size, dtype=np.int8), items, starts), shape=(users, ITEMS))


def histories(matrix: csr_matrix, queries: int) -> tuple[np.ndarray, csr_matrix]:
    """Query users with more than ten items, and ten of the items of each as their history."""
    rng = generator(0, "benchmark", "queries")
    users = rng.choice(np.flatnonzero(np.diff(matrix.indptr) > HISTORY), queries, replace=False).astype(np.int64)
    rows = [rng.permutation(matrix.indices[matrix.indptr[u] : matrix.indptr[u + 1]])[:HISTORY] for u in users]
    starts = np.arange(0, queries * HISTORY + 1, HISTORY)
    return users, csr_matrix((np.ones(queries * HISTORY, np.int8), np.concatenate(rows), starts), (queries, ITEMS))


def wrong(matrix: csr_matrix, users: np.ndarray, asked: csr_matrix, found: np.ndarray) -> int:
    """How many of the first queries have other neighbours than a plain sparse product gives."""
    degrees = np.diff(matrix.indptr)
    wide = matrix.astype(np.int32)
    count = 0
    for row in range(CHECKED):
        common = np.asarray((wide @ asked[row].astype(np.int32).T).todense()).ravel().astype(np.float64)
        common[users[row]] = 0
        squared = common**2 / np.maximum(degrees, 1)
        best = np.lexsort((np.arange(squared.size), -squared))[:NEIGHBOURS]
        count += best.tolist() != found[row].tolist()
    return count


def shape(users: int, queries: int) -> dict[str, Any]:
    """Measure one size, in this process."""
    matrix = ratings(users)
    counts = np.bincount(matrix.indices, minlength=ITEMS)
    start = time.perf_counter()
    index = UserIndex(matrix)
    indexed = time.perf_counter() - start
    own, asked = histories(matrix, queries)
    start = time.perf_counter()
    for first in range(0, queries, 1024):
        block = slice(first, first + 1024)
        neighbours = index.nearest(asked[block], NEIGHBOURS, "cosine", own[block])
        index.vote(neighbours, SIZE, asked[block])
        if first == 0:
            checked = neighbours.users[:CHECKED]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "users": users,
        "ratings": int(matrix.nnz),
        "skew": float(counts.std() / counts.mean()),
        "top": float(counts.max() / users),
        "index": indexed,
        "queries": queries,
        "seconds": seconds,
        "peak": peak,
        "wrong": wrong(matrix, own, asked, checked),
    }


def netflix_shape(queries: int) -> None:
    """All sizes, each in a process of its own, so that each has its own peak."""
    print(f"generated: {ITEMS:,} items; {queries:,} query users, histories of {HISTORY}, exact, one thread")
    for users in USERS:
        command = [sys.executable, __file__, "--one", str(users), "--queries", str(queries)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        each = json.loads(done.stdout)
        print(
            f"  {each['users']:,} users, {each['ratings']:,} ratings, item counts sd/mean {each['skew']:.2f}, "
            f"most popular item {each['top']:.0%} of users:\n"
            f"    index {each['index']:.1f} s, neighbours and sets {each['seconds']:.1f} s "
            f"({1000 * each['seconds'] / each['queries']:.2f} ms per query), peak memory {each['peak']:.2f} GiB, "
            f"other than the plain product: {each['wrong']} of {CHECKED}",
            flush=True,
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--netflix-shape", action="store_true")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--one", type=int, help="One size of the generated ratings, as JSON.")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(shape(given.one, given.queries)))
    elif given.netflix_shape:
        netflix_shape(given.queries)
    else:
        real(given.samples)


if __name__ == "__main__":
    main()
