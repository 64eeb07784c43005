"""What a recommender is asked for beside likes (`Selection`), and what it says: `Recommendation`, `Influence`."""

from __future__ import annotations

from dataclasses import dataclass

from recalign.errors import ConfigError
from recalign.retrieval.base import EVERYTHING_UNSEEN, Filters


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items may be recommended, and how they are chosen.

    Attributes:
        filters: What may come back; without an index, too.
        retrieve: How many candidates the index hands to the scorer. Without an index the whole catalogue is scored.
        diversity: From 0 (the order of the scores) to 1 (as unlike each other as possible); above 0 needs an index.
    """

    filters: Filters = EVERYTHING_UNSEEN
    retrieve: int = 200
    diversity: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise ConfigError("diversity", found=str(self.diversity), expected="a number from 0 to 1")


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
