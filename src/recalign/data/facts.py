"""Facts about a user and an item that a prompt can state beside the history: counts, never texts of strangers' making.

A short history holds few events, and a title says little of how it is liked. What many users do with an item, and what
this user did with all items of its kinds, can be counted beforehand; a template decides how to say it. All facts come
from events before the target and from what other users did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recalign.data.catalog import ItemCatalog
from recalign.data.knowledge import TitleKnowledge, fold_of, title_key
from recalign.data.samples import CandidateList
from recalign.data.schema import HistoryEntry

PAST: Final = 200  # as many of the newest events are counted
RECENT: Final = 3
GENRES: Final = 4  # are named at most, the first ones of the catalogue
DECAY: Final = 16.0  # events until one counts 1/e of the newest, in `recency`
SHRINK: Final = 3.0  # events without a surprise that are added to each mean


@dataclass(frozen=True, slots=True)
class GenreFact:
    """What the user did with items of one genre: liked `liked` of the `met` ones."""

    name: str
    liked: int
    met: int


@dataclass(frozen=True, slots=True)
class UserFacts:
    """What is known of the user before the target, from the newest 200 events.

    Attributes:
        liked, met: Events, and liked ones among them.
        recent_liked, recent_met: The same of the newest three.
        recency: Mean like with weight exp(-k/16) for the k-th newest event, in percent; None without events.
        others: What other users like of the same items, in percent; None where titles are not known.
        bias: How much more of them the user likes than others do, in percent points, drawn towards zero.
    """

    liked: int = 0
    met: int = 0
    recent_liked: int = 0
    recent_met: int = 0
    recency: int | None = None
    others: int | None = None
    bias: int = 0


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What is known of a target for this user.

    Attributes:
        genres: The user's likes by genre of the target, of four genres at most.
        taste: How much more than expected the user likes items of its genres and of its decade (their mean), in percent
            points.
        liked_by: Other users who like it, in percent, drawn towards the mean where few met it; None where titles are
            not known.
        met_by: How many other users met it, rounded down to a power of two; None where titles are not known.
    """

    genres: tuple[GenreFact, ...] = ()
    taste: int = 0
    liked_by: int | None = None
    met_by: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a template may say beside history and target."""

    user: UserFacts
    item: ItemFacts


@dataclass(frozen=True, slots=True)
class _Event:
    """One event of the past: liked or not, what others do with the item, and its kinds."""

    liked: bool
    expected: float
    kinds: tuple[str, ...]


class FactFinder:
    """Finds the facts of candidate lists over one catalogue.

    Args:
        catalog: Titles and genres.
        knowledge: What other users think of titles, or None where nobody was counted.
    """

    def __init__(self, catalog: ItemCatalog, knowledge: TitleKnowledge | None = None) -> None:
        self._catalog, self.knowledge = catalog, knowledge
        rows = catalog.frame.select("item_id", "genres", "year").iter_rows()
        self._genres: dict[str, tuple[str, ...]] = {}
        self._kinds: dict[str, tuple[str, ...]] = {}
        for item_id, names, year in rows:
            genres = tuple(dict.fromkeys(name for name in names or () if name and name.strip()))
            decade = () if year is None else (f"decade {year // 10 * 10}",)
            self._genres[item_id], self._kinds[item_id] = genres[:GENRES], (*genres, *decade)

    def of(self, asked: CandidateList) -> list[Facts]:
        """The facts of each item of a list, in their order. They do not depend on the other items."""
        fold = fold_of(asked.user_id)
        events = [self._event(entry, fold) for entry in asked.past[-PAST:]]
        user, bias = self._user(events)
        surprises: dict[str, tuple[int, int, float]] = {}
        for event in events:
            for name in event.kinds:
                liked, met, total = surprises.get(name, (0, 0, 0.0))
                surprises[name] = (liked + event.liked, met + 1, total + event.liked - event.expected - bias)
        return [Facts(user, self._item(item_id, surprises, fold)) for item_id in asked.item_ids]

    def _event(self, entry: HistoryEntry, fold: int) -> _Event:
        expected = self._share(entry.item_id, fold)[0] if self.knowledge is not None else 0.0
        return _Event(entry.liked, expected, self._kinds.get(entry.item_id, ()))

    def _share(self, item_id: str, fold: int) -> tuple[float, int]:
        assert self.knowledge is not None
        title = "" if self._catalog.hides_titles else self._catalog.title(item_id)
        return self.knowledge.share(title_key(title), fold)

    def _user(self, events: Sequence[_Event]) -> tuple[UserFacts, float]:
        if not events:
            return UserFacts(), 0.0
        recent = events[-RECENT:]
        weights = [math.exp(-k / DECAY) for k in range(len(events))]
        lately = sum(weight * event.liked for weight, event in zip(weights, reversed(events), strict=True))
        bias = sum(event.liked - event.expected for event in events) / (len(events) + SHRINK)
        known = self.knowledge is not None
        facts = UserFacts(
            liked=sum(event.liked for event in events),
            met=len(events),
            recent_liked=sum(event.liked for event in recent),
            recent_met=len(recent),
            recency=_percent(lately / sum(weights)),
            others=_percent(sum(event.expected for event in events) / len(events)) if known else None,
            bias=_percent(bias) if known else 0,
        )
        return facts, bias

    def _item(self, item_id: str, surprises: dict[str, tuple[int, int, float]], fold: int) -> ItemFacts:
        kinds = self._kinds[item_id]
        found = {name: surprises.get(name, (0, 0, 0.0)) for name in kinds}
        taste = sum(total / (met + SHRINK) for _, met, total in found.values()) / len(kinds) if kinds else 0.0
        genres = tuple(GenreFact(name, *found[name][:2]) for name in self._genres[item_id])
        if self.knowledge is None:
            return ItemFacts(genres, _percent(taste))
        share, met_by = self._share(item_id, fold)
        return ItemFacts(genres, _percent(taste), _percent(share), 1 << met_by.bit_length() >> 1)


def _percent(share: float) -> int:
    return round(100 * share)
