"""Questions that a catalogue alone can answer: the tasks of `recalign.tuning.instructions`.

A task draws items and returns the fields of its wordings; `TASKS` names them all. Answers are facts or titles, never
the label words, lest a model learn to prefer one of them before it has seen a single like. Facts come from the columns
title, year, author and genres and from nothing else, so neither a rating nor a label can enter.

Fields: ``item`` one quoted title, ``items`` a list of them, ``answer``/``answers`` what is right in it, in its order;
``start`` the beginning of a title; ``position``, ``word``, ``year``, ``genre``, ``genres``, ``author``, ``count``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import numpy as np

from recalign.data.catalog import ItemCatalog
from recalign.data.title_names import normalise, split_year
from recalign.prompting.titles import clean_title

Value = TypeVar("Value")
Fields = dict[str, str]

_LEAST_WORD: Final = 4  # letters; shorter words are mostly articles and prepositions
_NO_GENRE: Final = frozenset({"(no genres listed)", "unknown"})  # what MovieLens writes where it knows none
_LONGEST_LIST: Final = 8
_MOST_RIGHT: Final = 3  # right answers in a list, so that not everything in it is right
_LONGEST_ANSWER: Final = 5  # items that an answer without a list names
_TRIES: Final = 40


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalogue says about each of its distinct titles; all sequences run over the same items.

    Attributes:
        titles: Distinct titles, one line each.
        short: The title without its year, where no other title has the same.
        openings: The shortest beginning in whole words that no other title has; None where there is none.
        values: By kind (title, year, author, genre, word) the values of each item; none where unknown.
        having: By kind the items that have a value.
    """

    titles: tuple[str, ...]
    short: tuple[str, ...]
    openings: tuple[str | None, ...]
    values: Mapping[str, Sequence[Sequence[str]]]
    having: Mapping[str, Mapping[str, Sequence[int]]]


Task = Callable[[Facts, np.random.Generator], Fields | None]


def read_facts(catalog: ItemCatalog) -> Facts:
    """Collect the facts. A question names an item by its title, so of several items with one title the first counts."""
    rows: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for raw, column_year, raw_author, raw_genres in catalog.frame.select("title", "year", "author", "genres").rows():
        title = clean_title(raw or "")
        if not title or title in rows:
            continue
        year = column_year if column_year is not None else split_year(title)[1]
        author = clean_title(raw_author or "")
        genres = [clean_title(genre) for genre in raw_genres or () if genre and genre.casefold() not in _NO_GENRE]
        known = list(dict.fromkeys(filter(None, genres)))
        rows[title] = ([] if year is None else [str(year)], [author] if author else [], known)
    titles = tuple(rows)
    bases = [split_year(title)[0] for title in titles]
    occurs = Counter(bases)
    values: dict[str, list[list[str]]] = {
        "title": [[title] for title in titles],
        "year": [year for year, _, _ in rows.values()],
        "author": [author for _, author, _ in rows.values()],
        "genre": [genres for _, _, genres in rows.values()],
        "word": [
            list(dict.fromkeys(word for word in normalise(base).split() if len(word) >= _LEAST_WORD)) for base in bases
        ],
    }
    return Facts(
        titles=titles,
        short=tuple(base if occurs[base] == 1 else title for title, base in zip(titles, bases, strict=True)),
        openings=_openings(titles),
        values=values,
        having={kind: _having(column) for kind, column in values.items()},
    )


def _having(values: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for item, own in enumerate(values):
        for value in own:
            groups.setdefault(value, []).append(item)
    return groups


def _openings(titles: Sequence[str]) -> tuple[str | None, ...]:
    """Beginnings that identify a title: counted over all titles, so the search is linear in the catalogue."""
    cuts = [[place for place, char in enumerate(title) if char == " " and place] for title in titles]
    begun = Counter(title[:cut] for title, places in zip(titles, cuts, strict=True) for cut in places)
    begun.update(titles)
    return tuple(
        next((title[:cut] for cut in places if begun[title[:cut]] == 1), None)
        for title, places in zip(titles, cuts, strict=True)
    )


def quote(titles: Sequence[str]) -> str:
    """Titles as prompts show them: in double quotes, separated by commas."""
    return ", ".join(f'"{title}"' for title in titles)


def _pick(rng: np.random.Generator, values: Sequence[Value]) -> Value:
    return values[int(rng.integers(len(values)))]


def _some(rng: np.random.Generator, pool: Sequence[int], count: int, fits: Callable[[int], bool]) -> list[int]:
    """At most `count` distinct items of `pool` that fit; fewer where trying at random finds no more."""
    found: dict[int, None] = {}
    for _ in range(_TRIES):
        if len(found) == count:
            break
        item = _pick(rng, pool)
        if fits(item):
            found[item] = None
    return list(found)


def _mixed_list(
    facts: Facts,
    rng: np.random.Generator,
    right: Sequence[int],
    is_right: Callable[[int], bool],
    but: int | None = None,
) -> Fields | None:
    """A list of 1 to 3 items of `right` and 2 to 5 others, shuffled, without the item `but`."""
    good = _some(rng, right, int(rng.integers(1, _MOST_RIGHT + 1)), lambda item: item != but)
    wanted = int(rng.integers(2, _LONGEST_LIST - _MOST_RIGHT + 1))
    bad = _some(rng, range(len(facts.titles)), wanted, lambda item: item != but and not is_right(item))
    if not good or len(bad) < 2:
        return None
    items = [(good + bad)[place] for place in rng.permutation(len(good) + len(bad))]
    return {
        "items": quote([facts.titles[item] for item in items]),
        "answers": quote([facts.titles[item] for item in items if item in good]),
    }


def _plain_list(facts: Facts, rng: np.random.Generator, fits: Callable[[int], bool]) -> list[int] | None:
    items = _some(rng, range(len(facts.titles)), int(rng.integers(3, _LONGEST_LIST + 1)), fits)
    return items if len(items) >= 3 else None


def _one_answer(facts: Facts, items: Sequence[int], answer: int) -> Fields:
    return {"items": quote([facts.titles[item] for item in items]), "answer": quote([facts.titles[answer]])}


def _complete(facts: Facts, rng: np.random.Generator) -> Fields | None:
    item = int(rng.integers(len(facts.titles)))
    start = facts.openings[item]
    return None if start is None else {"start": start, "item": quote([facts.titles[item]])}


def _position(facts: Facts, rng: np.random.Generator) -> Fields | None:
    items = _plain_list(facts, rng, lambda _: True)
    if items is None:
        return None
    place = int(rng.integers(len(items)))
    return {**_one_answer(facts, items, items[place]), "position": str(place + 1)}


def _alphabet(facts: Facts, rng: np.random.Generator) -> Fields | None:
    items = _plain_list(facts, rng, lambda item: bool(normalise(facts.titles[item])))
    if items is None:
        return None
    return _one_answer(facts, items, min(items, key=lambda item: (normalise(facts.titles[item]), facts.titles[item])))


def _year(facts: Facts, rng: np.random.Generator) -> Fields | None:
    """Half of the questions leave the year out of the title, so that it has to be known and not only read."""
    item = int(rng.integers(len(facts.titles)))
    if not facts.values["year"][item]:
        return None
    shown = facts.short[item] if rng.integers(2) else facts.titles[item]
    return {"item": quote([shown]), "year": facts.values["year"][item][0]}


def _extreme_year(facts: Facts, rng: np.random.Generator, choose: Callable[[Sequence[int]], int]) -> Fields | None:
    known = facts.values["year"]
    items = _plain_list(facts, rng, lambda item: bool(known[item]))
    if items is None:
        return None
    years = [int(known[item][0]) for item in items]
    wanted = choose(years)
    return _one_answer(facts, items, items[years.index(wanted)]) if years.count(wanted) == 1 else None


def _values_of(facts: Facts, rng: np.random.Generator, kind: str, field: str) -> Fields | None:
    item = int(rng.integers(len(facts.titles)))
    values = facts.values[kind][item]
    return {"item": quote([facts.titles[item]]), field: ", ".join(values)} if values else None


def _with_value(
    facts: Facts, rng: np.random.Generator, kind: str, *, by_item: bool = True, unknown_fits: bool = True
) -> Fields | None:
    """Which items of a list have a value? It is drawn `by_item`, so that frequent ones are frequent, or uniformly.

    With `unknown_fits`, items without a value of that kind are not among the wrong ones.
    """
    values = facts.values[kind]
    drawn = _pick(rng, values) if by_item else tuple(facts.having[kind])
    if not drawn:
        return None
    value = _pick(rng, drawn)

    def is_right(item: int) -> bool:
        return value in values[item] or (unknown_fits and not values[item])

    fields = _mixed_list(facts, rng, facts.having[kind][value], is_right)
    return fields and {**fields, kind: value}


def _shared(facts: Facts, rng: np.random.Generator, kind: str) -> Fields | None:
    """Which items of a list have a value in common with one item?"""
    item = int(rng.integers(len(facts.titles)))
    values = facts.values[kind]
    if not values[item]:
        return None
    alike = facts.having[kind][_pick(rng, values[item])]

    def is_right(other: int) -> bool:
        return not values[other] or not set(values[item]).isdisjoint(values[other])

    fields = _mixed_list(facts, rng, alike, is_right, but=item)
    return fields and {**fields, "item": quote([facts.titles[item]])}


def _list_genre(facts: Facts, rng: np.random.Generator) -> Fields | None:
    genre = _pick(rng, tuple(facts.having["genre"]))
    items = _some(rng, facts.having["genre"][genre], int(rng.integers(2, _LONGEST_ANSWER + 1)), lambda _: True)
    if len(items) < 2:
        return None
    return {"genre": genre, "count": str(len(items)), "answers": quote([facts.titles[item] for item in items])}


def _list_author(facts: Facts, rng: np.random.Generator) -> Fields | None:
    author = _pick(rng, tuple(facts.having["author"]))
    works = facts.having["author"][author]
    if len(works) > _LONGEST_ANSWER:
        return None
    return {"author": author, "answers": quote([facts.titles[item] for item in works])}


# Name -> the kind of fact without which it has no question, and the task.
TASKS: Final[Mapping[str, tuple[str, Task]]] = {
    "complete": ("title", _complete),
    "position": ("title", _position),
    "alphabet": ("title", _alphabet),
    "word": ("title", partial(_with_value, kind="word", unknown_fits=False)),
    "year": ("year", _year),
    "earliest": ("year", partial(_extreme_year, choose=min)),
    "latest": ("year", partial(_extreme_year, choose=max)),
    "of_year": ("year", partial(_with_value, kind="year")),
    "genres": ("genre", partial(_values_of, kind="genre", field="genres")),
    "of_genre": ("genre", partial(_with_value, kind="genre", by_item=False)),
    "shared_genre": ("genre", partial(_shared, kind="genre")),
    "list_genre": ("genre", _list_genre),
    "author": ("author", partial(_values_of, kind="author", field="author")),
    "of_author": ("author", partial(_with_value, kind="author")),
    "shared_author": ("author", partial(_shared, kind="author")),
    "list_author": ("author", _list_author),
}
