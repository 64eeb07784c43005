"""What a catalogue says about its items, arranged for asking questions about it.

Facts come from the columns title, year, author and genres and from nothing else, so neither a rating nor a label can
enter what is built on them. `recalign.tuning.catalogue_tasks` asks the questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from recalign.data.catalog import ItemCatalog
from recalign.data.title_names import normalise, split_year
from recalign.prompting.titles import clean_title

Value = TypeVar("Value", bound=Hashable)

_LEAST_WORD: Final = 4  # letters; shorter words are mostly articles and prepositions
_NO_GENRE: Final = frozenset({"(no genres listed)", "unknown"})  # what MovieLens writes where it knows none


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalogue says about each of its distinct titles; all sequences run over the same items.

    Attributes:
        titles: Distinct titles, one line each.
        short: The title without its year, where no other title has the same.
        openings: The shortest beginning in whole words that no other title has; None where there is none.
        years, authors, genres: Facts, None or empty where unknown.
        words: Words of the title, normalised.
        by_year, by_author, by_genre, by_word: Items that have the value.
    """

    titles: tuple[str, ...]
    short: tuple[str, ...]
    openings: tuple[str | None, ...]
    years: tuple[int | None, ...]
    authors: tuple[str | None, ...]
    genres: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, ...], ...]
    by_year: Mapping[int, Sequence[int]]
    by_author: Mapping[str, Sequence[int]]
    by_genre: Mapping[str, Sequence[int]]
    by_word: Mapping[str, Sequence[int]]


def read_facts(catalog: ItemCatalog) -> Facts:
    """Collect the facts. A question names an item by its title, so of several items with one title the first counts."""
    kept: dict[str, tuple[int | None, str | None, tuple[str, ...]]] = {}
    for raw, column_year, author, genres in catalog.frame.select("title", "year", "author", "genres").iter_rows():
        title = clean_title(raw or "")
        if not title or title in kept:
            continue
        year = column_year if column_year is not None else split_year(title)[1]
        known = [clean_title(genre) for genre in genres or () if genre and genre.casefold() not in _NO_GENRE]
        kept[title] = (year, clean_title(author or "") or None, tuple(dict.fromkeys(filter(None, known))))
    titles = tuple(kept)
    years = tuple(year for year, _, _ in kept.values())
    authors = tuple(author for _, author, _ in kept.values())
    genre_lists = tuple(genres for _, _, genres in kept.values())
    bases = [split_year(title)[0] for title in titles]
    occurs = Counter(bases)
    words = tuple(
        tuple(dict.fromkeys(word for word in normalise(base).split() if len(word) >= _LEAST_WORD)) for base in bases
    )
    return Facts(
        titles=titles,
        short=tuple(base if occurs[base] == 1 else title for title, base in zip(titles, bases, strict=True)),
        openings=_openings(titles),
        years=years,
        authors=authors,
        genres=genre_lists,
        words=words,
        by_year=_group([() if year is None else (year,) for year in years]),
        by_author=_group([() if author is None else (author,) for author in authors]),
        by_genre=_group(genre_lists),
        by_word=_group(words),
    )


def _group(values: Iterable[Iterable[Value]]) -> dict[Value, list[int]]:
    groups: dict[Value, list[int]] = {}
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
