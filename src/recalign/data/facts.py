"""Facts about a user and an item that a prompt can state beside the history: counts, never texts of strangers' making.

A short history holds few events, and a title says little of how it is liked. What many users do with an item, and what
this user did with all items of its kinds, can be counted beforehand; a template decides how to say it. All facts come
from events before the target and from what other users did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.knowledge import TitleKnowledge, fold_of, title_key
from recalign.data.samples import CandidateList

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
        expected: How likely a like is by all of these counts together (`LikeRule`), in percent; None where that was
            not learnt.
    """

    genres: tuple[GenreFact, ...] = ()
    taste: int = 0
    liked_by: int | None = None
    met_by: int | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a template may say beside history and target."""

    user: UserFacts
    item: ItemFacts


class _Kind(NamedTuple):
    """What the user did with items of one kind, and how much more than expected they liked them in all."""

    liked: int
    met: int
    surprise: float


_NEW_KIND: Final = _Kind(0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class _Past:
    """A user's newest events, not yet rounded. See `UserFacts`; `likes` are 0 or 1, oldest first."""

    fold: int
    likes: tuple[float, ...] = ()
    recency: float = 0.5
    others: float | None = None
    bias: float = 0.0
    kinds: Mapping[str, _Kind] = field(default_factory=dict)


class _Item(NamedTuple):
    """A target, not yet rounded. See `ItemFacts`."""

    genres: tuple[GenreFact, ...]
    taste: float
    share: float | None
    met_by: int


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
        past = self._past(asked)
        user, items = self._user(past), [self._item(item_id, past) for item_id in asked.item_ids]
        rule = None if self.knowledge is None else self.knowledge.rule
        if rule is not None and items:
            expected = rule(_features(past, items))
            return [Facts(user, _stated(item, share)) for item, share in zip(items, expected, strict=True)]
        return [Facts(user, _stated(item, None)) for item in items]

    def features(self, asked: CandidateList) -> NDArray[np.float64]:
        """What a `LikeRule` reads of each item of a list, shape (items, 9). Needs knowledge."""
        past = self._past(asked)
        return _features(past, [self._item(item_id, past) for item_id in asked.item_ids])

    def _past(self, asked: CandidateList) -> _Past:
        fold, known = fold_of(asked.user_id), self.knowledge is not None
        entries = asked.past[-PAST:]
        if not entries:
            return _Past(fold)
        likes = [float(entry.liked) for entry in entries]
        shares = [self._share(entry.item_id, fold)[0] if known else 0.0 for entry in entries]
        bias = (sum(likes) - sum(shares)) / (len(likes) + SHRINK)
        weights = [math.exp(-k / DECAY) for k in range(len(likes))]
        lately = sum(weight * like for weight, like in zip(weights, reversed(likes), strict=True)) / sum(weights)
        kinds: dict[str, _Kind] = {}
        for entry, like, share in zip(entries, likes, shares, strict=True):
            for name in self._kinds.get(entry.item_id, ()):
                liked, met, surprise = kinds.get(name, _NEW_KIND)
                kinds[name] = _Kind(liked + int(like), met + 1, surprise + like - share - bias)
        return _Past(fold, tuple(likes), lately, sum(shares) / len(shares) if known else None, bias, kinds)

    def _share(self, item_id: str, fold: int) -> tuple[float, int]:
        assert self.knowledge is not None
        title = "" if self._catalog.hides_titles else self._catalog.title(item_id)
        return self.knowledge.share(title_key(title), fold)

    def _user(self, past: _Past) -> UserFacts:
        if not past.likes:
            return UserFacts()
        recent = past.likes[-RECENT:]
        compared = {} if past.others is None else {"others": _percent(past.others), "bias": _percent(past.bias)}
        return UserFacts(
            liked=int(sum(past.likes)),
            met=len(past.likes),
            recent_liked=int(sum(recent)),
            recent_met=len(recent),
            recency=_percent(past.recency),
            **compared,
        )

    def _item(self, item_id: str, past: _Past) -> _Item:
        kinds = self._kinds[item_id]
        found = [past.kinds.get(name, _NEW_KIND) for name in kinds]
        taste = sum(kind.surprise / (kind.met + SHRINK) for kind in found) / len(kinds) if kinds else 0.0
        genres = tuple(GenreFact(name, *past.kinds.get(name, _NEW_KIND)[:2]) for name in self._genres[item_id])
        share, met_by = self._share(item_id, past.fold) if self.knowledge is not None else (None, 0)
        return _Item(genres, taste, share, met_by)


def _features(past: _Past, items: Sequence[_Item]) -> NDArray[np.float64]:
    """Of targets with known titles, shape (items, 9): five of the user, four of the item."""
    recent = past.likes[-RECENT:]
    user = (
        past.recency,
        sum(past.likes) / len(past.likes) if past.likes else 0.5,
        sum(recent) / len(recent) if recent else 0.5,
        past.bias,
        0.5 if past.others is None else past.others,
    )
    rows = np.empty((len(items), 9))
    for row, item in zip(rows, items, strict=True):
        share = 0.5 if item.share is None else item.share
        odds, known_by = math.log((share + 0.01) / (1.01 - share)), math.log1p(item.met_by)
        row[:] = (*user, odds, known_by, odds * known_by, item.taste)
    return rows


def _stated(item: _Item, expected: float | None) -> ItemFacts:
    facts = ItemFacts(item.genres, _percent(item.taste))
    if item.share is not None:
        met_by = 1 << item.met_by.bit_length() >> 1
        facts = replace(facts, liked_by=_percent(item.share), met_by=met_by)
    return facts if expected is None else replace(facts, expected=_percent(expected))


def _percent(share: float) -> int:
    return round(100 * share)
