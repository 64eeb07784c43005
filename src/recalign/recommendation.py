"""What a recommendation is, and what is asked of a scorer to explain one. Knows no scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recalign.data.samples import CandidateList, HistoryEntry

# No source has a user of this name, so nothing that a scorer learned about users applies.
UNSEEN_USER: Final = "(unseen user)"
NEAR: Final = 0.01  # probabilities that are closer than that are not told apart


@dataclass(frozen=True, slots=True)
class Influence:
    """What one history entry does to one recommended item.

    Attributes:
        effect: Score with the whole history minus the score without this entry (leave-one-out), in the scorer's unit
            (log-odds where `Scorer.log_odds`). Positive: the entry raises the item's score. Effects need not add up
            to the score, because entries interact.
        score_without: The score without this entry.
    """

    item_id: str
    title: str
    liked: bool
    effect: float
    score_without: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item.

    Attributes:
        rank: 1 for the best item.
        score: The scorer's value; higher is better.
        probability: Predicted probability in [0, 1] that the user likes the item; None where scores are no log-odds.
        influences: Strongest effects first; empty unless asked for.
    """

    rank: int
    item_id: str
    title: str
    score: float
    probability: float | None
    influences: tuple[Influence, ...] = ()


def near_ties(items: Sequence[Recommendation]) -> str:
    """Which neighbours of a list, in the order of its scores, these do not tell apart, in words; "" where all are.

    A neighbour belongs to the first of a group whose probability is closer than `NEAR`. Scores that are no
    probabilities are an order alone, so only equal ones are not told apart.
    """
    groups: list[list[Recommendation]] = []
    for item in items:
        if groups and _alike(groups[-1][0], item):
            groups[-1].append(item)
        else:
            groups.append([item])
    places = [f"{group[0].rank} to {group[-1].rank}" for group in groups if len(group) > 1]
    if not places:
        return ""
    why = "the same score" if items[0].probability is None else f"less than {100 * NEAR:g}\u00a0% between them"
    return f"Not told apart, with {why}: numbers {'; '.join(places)}. Their order says nothing."


def leave_one_out(history: Sequence[HistoryEntry], items: Sequence[str]) -> list[CandidateList]:
    """The lists that tell what each entry of a history does to the scores of `items`: one without each entry."""
    return [
        CandidateList(UNSEEN_USER, (*history[:left_out], *history[left_out + 1 :]), tuple(items))
        for left_out in range(len(history))
    ]


def probability(log_odds: float) -> float:
    """1 / (1 + exp(-log_odds)), which would overflow as it stands here."""
    return float(np.exp(-np.logaddexp(0.0, -log_odds)))


def _alike(first: Recommendation, item: Recommendation) -> bool:
    if first.probability is None or item.probability is None:
        return first.score == item.score
    return abs(first.probability - item.probability) < NEAR
