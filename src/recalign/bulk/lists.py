"""What a scorer is asked for a user, and the rows that its answer becomes: the best items, or scores of given pairs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recalign.data.samples import CandidateList, HistoryEntry
from recalign.recommendation import UNSEEN_USER, probability
from recalign.recommender import Recommender, Selection
from recalign.retrieval.selection import NothingToRecommend

BATCH_ITEMS: Final = 1024  # about how many items go into one call of the scorer

NOTHING_LEFT: Final = "no item left to recommend"
NOT_ASKED: Final = "no pair with an item of the catalogue"

_VALUES: Final[dict[str, pl.DataType]] = {"item_id": pl.String(), "score": pl.Float64(), "probability": pl.Float64()}
Row = tuple[object, ...]


class Question(Protocol):
    """What is wanted of each user."""

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns of the rows."""

    def items(self, user_id: str, past: Sequence[HistoryEntry]) -> Sequence[str] | str:
        """The items to score, or the reason why there are none."""

    def rows(self, user_id: str, items: Sequence[str], scores: NDArray[np.float64]) -> Iterable[Row]:
        """The rows of a user, from a score per item."""


@dataclass(frozen=True)
class BestItems:
    """The `k` best items of the catalogue, or of what the recommender's index finds."""

    recommender: Recommender
    k: int
    selection: Selection

    schema: ClassVar[Mapping[str, pl.DataType]] = {"user_id": pl.String(), "rank": pl.Int32(), **_VALUES}

    def items(self, user_id: str, past: Sequence[HistoryEntry]) -> Sequence[str] | str:
        """See `Question`. Nothing of the whole past comes back, also what is too old for the history."""
        try:
            return self.recommender.candidates(past, selection=self.selection)
        except NothingToRecommend:
            return NOTHING_LEFT

    def rows(self, user_id: str, items: Sequence[str], scores: NDArray[np.float64]) -> Iterator[Row]:
        """See `Question`."""
        for item in self.recommender.ranked(items, scores, self.k, self.selection.diversity):
            yield user_id, item.rank, item.item_id, item.score, item.probability


@dataclass(frozen=True)
class GivenPairs:
    """Scores of given items: those of `wanted` for each user."""

    recommender: Recommender
    wanted: Mapping[str, Sequence[str]]

    schema: ClassVar[Mapping[str, pl.DataType]] = {"user_id": pl.String(), **_VALUES}

    def items(self, user_id: str, past: Sequence[HistoryEntry]) -> Sequence[str] | str:
        """See `Question`."""
        return self.wanted.get(user_id) or NOT_ASKED

    def rows(self, user_id: str, items: Sequence[str], scores: NDArray[np.float64]) -> Iterator[Row]:
        """See `Question`."""
        log_odds = self.recommender.scorer.log_odds
        for item_id, score in zip(items, scores.tolist(), strict=True):
            yield user_id, item_id, score, probability(score) if log_odds else None


@dataclass(frozen=True)
class Answered:
    """What came of the users of a shard: a table of scores, how many users have some, and (user, reason) of others."""

    scores: pl.DataFrame
    users: int
    rejects: list[tuple[str, str]]

    def parquet(self) -> bytes:
        """The scores as a file; equal tables make equal files."""
        buffer = io.BytesIO()
        self.scores.rechunk().write_parquet(buffer, compression="zstd", row_group_size=100_000)
        return buffer.getvalue()


def answer_all(
    recommender: Recommender,
    users: Iterable[tuple[str, tuple[HistoryEntry, ...]]],
    question: Question,
    max_history: int,
    tell: Callable[[int], None],
) -> Answered:
    """Ask one question about many users, several in one call of the scorer.

    Args:
        recommender: Its scorer is asked.
        users: Each user with all their events, the oldest first.
        question: What is wanted of each.
        max_history: How many events are the history; those before it are what was earlier.
        tell: Called after each call of the scorer with the number of users that are done since the last time.

    Raises:
        ModelError: The scorer gave a score that is not finite.
    """
    parts = [pl.DataFrame(schema=dict(question.schema))]
    rejects: list[tuple[str, str]] = []
    scored = 0
    for batch in _batches(users, question, max_history):
        asked = [(user_id, found) for user_id, found in batch if isinstance(found, CandidateList)]
        rejects += [(user_id, found) for user_id, found in batch if isinstance(found, str)]
        lists = [candidates for _, candidates in asked]
        rows: list[Row] = []
        for (user_id, candidates), scores in zip(asked, _scores(recommender, lists, tell), strict=True):
            rows.extend(question.rows(user_id, candidates.item_ids, scores))
        parts.append(pl.DataFrame(rows, schema=dict(question.schema), orient="row"))
        scored += len(asked)
        tell(len(batch))
    return Answered(pl.concat(parts), scored, rejects)


def _batches(
    users: Iterable[tuple[str, tuple[HistoryEntry, ...]]], question: Question, max_history: int
) -> Iterator[list[tuple[str, CandidateList | str]]]:
    """Users whose items fit one call together; one with more items than that is alone."""
    batch: list[tuple[str, CandidateList | str]] = []
    size = 0
    for user_id, past in users:
        items = question.items(user_id, past)
        length = 0 if isinstance(items, str) else len(items)
        if batch and (size + length > BATCH_ITEMS or len(batch) == BATCH_ITEMS):
            yield batch
            batch, size = [], 0
        if isinstance(items, str):
            batch.append((user_id, items))
        else:
            # As in `Recommender.rank`: nothing that a scorer may have learnt about a user of this name applies.
            asked = CandidateList(UNSEEN_USER, past[-max_history:], tuple(items), past[:-max_history])
            batch.append((user_id, asked))
        size += length
    if batch:
        yield batch


def _scores(
    recommender: Recommender, lists: Sequence[CandidateList], tell: Callable[[int], None]
) -> Sequence[NDArray[np.float64]]:
    if len(lists) != 1:
        return recommender.checked(lists, recommender.scorer.score(lists).values)
    (whole,) = lists
    parts: list[NDArray[np.float64]] = []
    for start in range(0, len(whole.item_ids), BATCH_ITEMS):
        part = [replace(whole, item_ids=whole.item_ids[start : start + BATCH_ITEMS])]
        parts += recommender.checked(part, recommender.scorer.score(part).values)
        tell(0)
    return [np.concatenate(parts)]
