"""Questions that a catalogue alone can answer: the tasks of `recalign.tuning.instructions`.

A task draws items and returns the fields of its wordings; `TASKS` names them all. Answers are facts or titles, never
the label words, lest a model learn to prefer one of them before it has seen a single like.

Fields: ``item`` one quoted title, ``items`` a list of them, ``answer``/``answers`` what is right in it, in its order;
``start`` the beginning of a title; ``position``, ``word``, ``year``, ``genre``, ``genres``, ``author``, ``count``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from recalign.data.title_names import normalise
from recalign.tuning.catalogue_facts import Facts

Value = TypeVar("Value")
Fields = dict[str, str]

_LONGEST_LIST: Final = 8
_MOST_RIGHT: Final = 3  # right answers in a list, so that not everything in it is right
_LONGEST_ANSWER: Final = 5  # items that an answer without a list names
_TRIES: Final = 40
Task = Callable[[Facts, np.random.Generator], Fields | None]


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
    chosen = set(good)
    return {
        "items": quote([facts.titles[item] for item in items]),
        "answers": quote([facts.titles[item] for item in items if item in chosen]),
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


def _word(facts: Facts, rng: np.random.Generator) -> Fields | None:
    words = _pick(rng, facts.words)
    if not words:
        return None
    word = _pick(rng, words)
    fields = _mixed_list(facts, rng, facts.by_word[word], lambda item: word in facts.words[item])
    return fields and {**fields, "word": word}


def _year(facts: Facts, rng: np.random.Generator) -> Fields | None:
    """Half of the questions leave the year out of the title, so that it has to be known and not only read."""
    item = int(rng.integers(len(facts.titles)))
    if facts.years[item] is None:
        return None
    shown = facts.short[item] if rng.integers(2) else facts.titles[item]
    return {"item": quote([shown]), "year": str(facts.years[item])}


def _extreme_year(facts: Facts, rng: np.random.Generator, choose: Callable[[Sequence[int]], int]) -> Fields | None:
    items = _plain_list(facts, rng, lambda item: facts.years[item] is not None)
    if items is None:
        return None
    years = [year for year in (facts.years[item] for item in items) if year is not None]
    wanted = choose(years)
    return _one_answer(facts, items, items[years.index(wanted)]) if years.count(wanted) == 1 else None


def _of_year(facts: Facts, rng: np.random.Generator) -> Fields | None:
    year = _pick(rng, facts.years)
    if year is None:
        return None
    fields = _mixed_list(facts, rng, facts.by_year[year], lambda item: facts.years[item] in (year, None))
    return fields and {**fields, "year": str(year)}


def _genres(facts: Facts, rng: np.random.Generator) -> Fields | None:
    item = int(rng.integers(len(facts.titles)))
    if not facts.genres[item]:
        return None
    return {"item": quote([facts.titles[item]]), "genres": ", ".join(facts.genres[item])}


def _of_genre(facts: Facts, rng: np.random.Generator) -> Fields | None:
    genre = _pick(rng, tuple(facts.by_genre))
    fields = _mixed_list(
        facts, rng, facts.by_genre[genre], lambda item: not facts.genres[item] or genre in facts.genres[item]
    )
    return fields and {**fields, "genre": genre}


def _shared_genre(facts: Facts, rng: np.random.Generator) -> Fields | None:
    item = int(rng.integers(len(facts.titles)))
    own = set(facts.genres[item])
    if not own:
        return None
    alike = facts.by_genre[_pick(rng, facts.genres[item])]
    fields = _mixed_list(
        facts, rng, alike, lambda other: not facts.genres[other] or not own.isdisjoint(facts.genres[other]), but=item
    )
    return fields and {**fields, "item": quote([facts.titles[item]])}


def _list_genre(facts: Facts, rng: np.random.Generator) -> Fields | None:
    genre = _pick(rng, tuple(facts.by_genre))
    items = _some(rng, facts.by_genre[genre], int(rng.integers(2, _LONGEST_ANSWER + 1)), lambda _: True)
    if len(items) < 2:
        return None
    return {"genre": genre, "count": str(len(items)), "answers": quote([facts.titles[item] for item in items])}


def _author(facts: Facts, rng: np.random.Generator) -> Fields | None:
    item = int(rng.integers(len(facts.titles)))
    author = facts.authors[item]
    return None if author is None else {"item": quote([facts.titles[item]]), "author": author}


def _of_author(facts: Facts, rng: np.random.Generator) -> Fields | None:
    author = _pick(rng, facts.authors)
    if author is None:
        return None
    fields = _mixed_list(facts, rng, facts.by_author[author], lambda item: facts.authors[item] in (author, None))
    return fields and {**fields, "author": author}


def _shared_author(facts: Facts, rng: np.random.Generator) -> Fields | None:
    item = int(rng.integers(len(facts.titles)))
    author = facts.authors[item]
    if author is None:
        return None
    works = facts.by_author[author]
    fields = _mixed_list(facts, rng, works, lambda other: facts.authors[other] in (author, None), but=item)
    return fields and {**fields, "item": quote([facts.titles[item]])}


def _list_author(facts: Facts, rng: np.random.Generator) -> Fields | None:
    author = _pick(rng, tuple(facts.by_author))
    works = facts.by_author[author]
    if len(works) > _LONGEST_ANSWER:
        return None
    return {"author": author, "answers": quote([facts.titles[item] for item in works])}


TASKS: Final[Mapping[str, tuple[str, Task]]] = {
    "complete": ("titles", _complete),
    "position": ("titles", _position),
    "alphabet": ("titles", _alphabet),
    "word": ("titles", _word),
    "year": ("by_year", _year),
    "earliest": ("by_year", lambda facts, rng: _extreme_year(facts, rng, min)),
    "latest": ("by_year", lambda facts, rng: _extreme_year(facts, rng, max)),
    "of_year": ("by_year", _of_year),
    "genres": ("by_genre", _genres),
    "of_genre": ("by_genre", _of_genre),
    "shared_genre": ("by_genre", _shared_genre),
    "list_genre": ("by_genre", _list_genre),
    "author": ("by_author", _author),
    "of_author": ("by_author", _of_author),
    "shared_author": ("by_author", _shared_author),
    "list_author": ("by_author", _list_author),
}
"""Each task with the attribute of `Facts` that must not be empty for it."""
