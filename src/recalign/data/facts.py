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
from recalign.data.knowledge import Opinion, TitleKnowledge, fold_of, title_key
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.data.taste import UNKNOWN_YEAR, Taste, Traits, own_ranks

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
        taste: How much higher than others the user ranks items like this one, in percent points (`Taste`).
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


@dataclass(frozen=True, slots=True)
class _Past:
    """A user's newest events, not yet rounded. See `UserFacts`; `likes` are 0 or 1, oldest first."""

    likes: tuple[float, ...] = ()
    recency: float = 0.5
    others: float | None = None
    bias: float = 0.0
    genres: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # liked and met


class _Item(NamedTuple):
    """A target, not yet rounded. See `ItemFacts`; nothing is known of the opinion where nobody was counted."""

    genres: tuple[GenreFact, ...]
    taste: float
    opinion: Opinion | None


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
        self._years: dict[str, float] = {}
        for item_id, names, year in rows:
            self._genres[item_id] = tuple(dict.fromkeys(name for name in names or () if name and name.strip()))
            self._years[item_id] = UNKNOWN_YEAR if year is None else float(year)

    def of(self, asked: CandidateList) -> list[Facts]:
        """The facts of each item of a list, in their order. They do not depend on the other items."""
        past, items = self._known(asked)
        user = _user(past)
        rule = None if self.knowledge is None else self.knowledge.rule
        if rule is not None and items:
            expected = rule(_features(past, items))
            return [Facts(user, _stated(item, share)) for item, share in zip(items, expected, strict=True)]
        return [Facts(user, _stated(item, None)) for item in items]

    def features(self, asked: CandidateList) -> NDArray[np.float64]:
        """What a `LikeRule` reads of each item of a list, shape (items, 11). Needs knowledge."""
        return _features(*self._known(asked))

    def _known(self, asked: CandidateList) -> tuple[_Past, list[_Item]]:
        fold, entries, targets = fold_of(asked.user_id), asked.past[-PAST:], asked.item_ids
        items = [*(entry.item_id for entry in entries), *targets]
        opinions = [self._opinion(item_id, fold) for item_id in items]
        past, tastes = _Past(), [0.0] * len(targets)
        if entries:
            past = self._past(entries, opinions[: len(entries)])
            met, asked_about = self._traits(items, opinions, len(entries))
            tastes = Taste.learn(met, own_ranks(entries)).of(asked_about).tolist()
        known = zip(targets, tastes, opinions[len(entries) :], strict=True)
        return past, [_Item(self._genre_facts(item_id, past), taste, opinion) for item_id, taste, opinion in known]

    def _past(self, entries: Sequence[HistoryEntry], opinions: Sequence[Opinion | None]) -> _Past:
        likes = [float(entry.liked) for entry in entries]
        shares = [0.0 if opinion is None else opinion.share for opinion in opinions]
        bias = (sum(likes) - sum(shares)) / (len(likes) + SHRINK)
        weights = [math.exp(-k / DECAY) for k in range(len(likes))]
        lately = sum(weight * like for weight, like in zip(weights, reversed(likes), strict=True)) / sum(weights)
        genres: dict[str, tuple[int, int]] = {}
        for entry in entries:
            for name in self._genres.get(entry.item_id, ()):
                liked, met = genres.get(name, (0, 0))
                genres[name] = liked + int(entry.liked), met + 1
        others = None if self.knowledge is None else sum(shares) / len(shares)
        return _Past(tuple(likes), lately, others, bias, genres)

    def _opinion(self, item_id: str, fold: int) -> Opinion | None:
        if self.knowledge is None:
            return None
        title = "" if self._catalog.hides_titles else self._catalog.title(item_id)
        return self.knowledge.opinion(title_key(title), fold)

    def _traits(self, items: Sequence[str], opinions: Sequence[Opinion | None], events: int) -> tuple[Traits, Traits]:
        """Of the user's events, which are the first of the items, and of the targets, which all come next."""
        named = [self._genres.get(item_id, ()) for item_id in items]
        columns = {name: place for place, name in enumerate(dict.fromkeys(name for names in named for name in names))}
        genres = np.zeros((len(items), len(columns)))
        for row, names in zip(genres, named, strict=True):
            row[[columns[name] for name in names]] = 1.0
        years = np.array([self._years.get(item_id, UNKNOWN_YEAR) for item_id in items])
        met = np.log1p([0.0 if opinion is None else opinion.met for opinion in opinions])
        ranks = np.array([0.0 if opinion is None else opinion.rank for opinion in opinions])
        order = np.minimum(np.arange(len(items)), events).astype(np.float64)
        past, asked = (
            Traits(genres[part], years[part], met[part], ranks[part], order[part])
            for part in (slice(events), slice(events, None))
        )
        return past, asked

    def _genre_facts(self, item_id: str, past: _Past) -> tuple[GenreFact, ...]:
        return tuple(GenreFact(name, *past.genres.get(name, (0, 0))) for name in self._genres[item_id][:GENRES])


def _user(past: _Past) -> UserFacts:
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


def _features(past: _Past, items: Sequence[_Item]) -> NDArray[np.float64]:
    """Of targets with known titles, shape (items, 11): five of the user, six of the item."""
    recent = past.likes[-RECENT:]
    user = (
        past.recency,
        sum(past.likes) / len(past.likes) if past.likes else 0.5,
        sum(recent) / len(recent) if recent else 0.5,
        past.bias,
        0.5 if past.others is None else past.others,
    )
    rows = np.empty((len(items), 11))
    for row, item in zip(rows, items, strict=True):
        share, met, rank = item.opinion or Opinion(0.5, 0, 0.0)
        odds, known_by = math.log((share + 0.01) / (1.01 - share)), math.log1p(met)
        row[:] = (*user, odds, known_by, odds * known_by, rank, rank * known_by, item.taste)
    return rows


def _stated(item: _Item, expected: float | None) -> ItemFacts:
    facts = ItemFacts(item.genres, _percent(item.taste))
    if item.opinion is not None:
        met_by = 1 << item.opinion.met.bit_length() >> 1
        facts = replace(facts, liked_by=_percent(item.opinion.share), met_by=met_by)
    return facts if expected is None else replace(facts, expected=_percent(expected))


def _percent(share: float) -> int:
    return round(100 * share)
