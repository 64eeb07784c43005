"""NDCG@10, Recall@10 and MRR of ranked lists, with ties counted by expectation.

Items of equal score stand in a random order, and a metric is its expectation over these orders, in closed form: a tie
of e items, p of them relevant, puts p/e of a relevant item on each of its e places. So nothing depends on the order of
the rows, and a scorer that says the same of all items gets exactly what a random ranker gets on average (0.089 NDCG@10
for one relevant item among 51), not the best or the worst place.

Two kinds of lists:

* *candidate lists*: per sample one liked truth among negatives. NDCG@10 is 1/log2(r + 1) for a truth on place r ≤ 10,
  Recall@10 is whether r ≤ 10, MRR is 1/r over the whole list. Values are averaged over lists.
* *labelled lists*: per user the items with a label, which is the relevance. NDCG@10 is DCG@10 over that of the best
  order. A user without a liked item has no NDCG and is left out and counted; values are averaged over the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.errors import DataError
from recalign.metrics.classification import Value, as_labels, as_scores

RankingMetric = Literal["ndcg", "recall", "mrr"]
Float = NDArray[np.float64]
Places = NDArray[np.intp]

CUTOFF: Final = 10


def candidate_values(scores: pl.DataFrame, *, cutoff: int = CUTOFF) -> pl.DataFrame:
    """The three metrics of each list of a per-candidate score file, whose `label` is 1 for a truth alone.

    Returns:
        One row per list, by sample id: `sample_id`, `user_id`, `ndcg`, `recall`, `mrr`, each in [0, 1].

    Raises:
        DataError: There is no list, an item stands twice in a list, a list has not exactly one truth, or scores are not
            finite.
    """
    needed = ["sample_id", "user_id", "item_id", "label", "score"]
    missing = [name for name in needed if name not in scores.columns]
    if missing or scores.is_empty():
        found = f"no column {', '.join(missing)}" if missing else "no rows"
        raise DataError("candidate scores", found=found, expected=f"rows of {', '.join(needed)}")
    if repeated := scores.height - scores.select("sample_id", "item_id").n_unique():
        raise DataError("candidate scores", found=f"{repeated} items that repeat in their list", expected="each once")
    lists, names = _numbered(scores["sample_id"])
    labels = as_labels(scores["label"].to_numpy())
    values = as_scores(scores["score"].to_numpy(), labels.size)
    truths = np.bincount(lists, weights=labels, minlength=len(names))
    if wrong := int(np.count_nonzero(truths != 1)):
        raise DataError("candidate scores", found=f"{wrong} lists without exactly one truth", expected="one per list")
    longest = int(np.bincount(lists).max())
    gains = _cumulative(longest, cutoff)
    users = scores.group_by("sample_id").agg(pl.col("user_id").first()).sort("sample_id")["user_id"]
    columns = [pl.Series(name, _expected(labels, values, lists, len(names), gain)) for name, gain in gains.items()]
    return pl.DataFrame([names, users, *columns])


def random_ranker(items: int, *, cutoff: int = CUTOFF) -> dict[RankingMetric, float]:
    """What a random order of `items` items, one of them relevant, gets on average.

    NDCG@10 is (1/n) Σ_{r ≤ 10} 1/log2(r + 1): 0.0891 for n = 51.
    """
    if items < 1:
        raise DataError("items of a candidate list", found=str(items), expected="at least 1")
    return {name: float(gain[-1] / items) for name, gain in _cumulative(items, cutoff).items()}


def labelled_ndcg(scores: pl.DataFrame, *, cutoff: int = CUTOFF) -> Value:
    """NDCG@10 of each user's own items in a per-sample score file, ranked by score, with the label as relevance.

    A number in [0, 1], with one list per user who counts. It is undefined where it is the same for every order.
    Counted are ``users`` and the users without a liked item, who are ``excluded``.

    Raises:
        DataError: Labels are not 0 or 1, or scores are not finite.
    """
    labels = as_labels(scores["label"].to_numpy())
    values = as_scores(scores["score"].to_numpy(), labels.size)
    users, names = _numbered(scores["user_id"])
    sizes = np.bincount(users, minlength=len(names))
    liked = np.bincount(users, weights=labels, minlength=len(names))
    counted = liked > 0
    n_users = int(counted.sum())
    counts = {"users": n_users, "excluded": len(names) - n_users}
    reason = None
    if labels.size == 0:
        reason = "no samples"
    elif n_users == 0:
        reason = "no user has a liked item"
    elif not (counted & (liked < sizes)).any():
        longest = "one item each" if sizes[counted].max() == 1 else "liked items only"
        reason = f"users with a liked item have {longest}, so every order is the best one"
    if reason is not None:
        return Value(None, reason, counts, as_frame(names.head(0), names.head(0), np.empty(0)))
    gain = _cumulative(int(sizes.max()), cutoff)["ndcg"]
    reached = _expected(labels, values, users, len(names), gain)[counted]
    per_user = reached / gain[liked[counted].astype(np.intp)]
    kept = names.filter(pl.Series(counted))
    return Value(float(per_user.mean()), counts=counts, lists=as_frame(kept, kept, per_user))


def as_frame(samples: pl.Series, users: pl.Series, values: Float | pl.Series) -> pl.DataFrame:
    """Values of lists in the form that `significance` resamples with statistic "mean"."""
    columns = {"sample_id": samples, "user_id": users, "score": values}
    return pl.DataFrame(columns, schema_overrides={"score": pl.Float64()}).with_columns(label=pl.lit(1, pl.Int8()))


def _numbered(names: pl.Series) -> tuple[Places, pl.Series]:
    """The place of each row's name among the sorted distinct names, and those."""
    distinct = names.unique().sort()
    return distinct.search_sorted(names).to_numpy().astype(np.intp), distinct


def _cumulative(longest: int, cutoff: int) -> Mapping[RankingMetric, Float]:
    """Per metric the sum of what a relevant item is worth on the first n places, for n = 0 … longest."""
    place = np.arange(1, longest + 1)
    shown = place <= cutoff
    ndcg, recall, mrr = shown / np.log2(place + 1), shown.astype(np.float64), 1 / place
    worth: dict[RankingMetric, Float] = {"ndcg": ndcg, "recall": recall, "mrr": mrr}
    return {name: np.concatenate([[0.0], np.cumsum(each)]) for name, each in worth.items()}


def _expected(labels: Float, scores: Float, lists: Places, n_lists: int, gain: Float) -> Float:
    """Expected sum of the gains of the relevant items of each list, shape (n_lists,)."""
    order = np.lexsort((-scores, lists))
    labels, scores, lists = labels[order], scores[order], lists[order]
    first = np.ones(labels.size, dtype=bool)
    first[1:] = (scores[1:] != scores[:-1]) | (lists[1:] != lists[:-1])
    starts = np.flatnonzero(first)  # of each tie, in rows
    sizes = np.diff(np.append(starts, labels.size))
    relevant = np.add.reduceat(labels, starts)
    of = lists[starts]
    counts = np.bincount(lists, minlength=n_lists)
    above = starts - (np.cumsum(counts) - counts)[of]  # items of the list that stand above the tie
    shares = relevant / sizes * (gain[above + sizes] - gain[above])
    return np.bincount(of, weights=shares, minlength=n_lists).astype(np.float64)
