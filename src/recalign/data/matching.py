"""Find the catalogue item that a person means by a title, or say why it cannot be told.

`TitleIndex.match` tries, in this order, and stops at the first that finds something:

1. the item's id (``id:318`` where a bare number could be a title too), its title or its item text, verbatim;
2. the title without regard to case, diacritics, punctuation and spacing, its article in front or at the end, with or
   without its year (a year that is given must be right);
3. an alternative title in parentheses, or the title without what stands in parentheses;
4. the title without its leading article;
5. a beginning of one title, words in the middle of one title, all words of one title (with a year: at least half of
   the title);
6. a title a few typing errors away (numbers and Roman numerals must be right).

A step that finds several items is an error that lists them with ids and years, never a guess: items that share title
and year (18 titles of MovieLens-100K occur twice) have to be told apart by id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.title_names import (
    allowed_typos,
    main_name,
    normalise,
    numerals,
    other_names,
    split_year,
    without_article,
)
from recalign.errors import DataError
from recalign.terminal import printable

How = Literal["id", "title", "other name", "part of title", "typing error"]
_LISTED: Final = 8  # candidates that an error names
_ALIKE: Final = 0.2  # share of letter triples from which a title is worth suggesting
_SHORTEST_PART: Final = 3  # letters that a beginning or a middle of a title must have


@dataclass(frozen=True, slots=True)
class Match:
    """What a query was taken for, and by which kind of step ("part of title" and "typing error" deserve a note)."""

    query: str
    item_id: str
    title: str
    how: How


class _Query(NamedTuple):
    """A query, taken apart once: names are normalised, `year` is the one given in parentheses."""

    text: str
    whole: str
    name: str
    year: int | None


class TitleIndex:
    """The names of a catalogue's items; build it once per catalogue (a few microseconds per item)."""

    def __init__(self, catalog: ItemCatalog) -> None:
        self._catalog, self._ids = catalog, catalog.ids
        self._position = {item_id: item for item, item_id in enumerate(self._ids)}
        self._years: list[frozenset[int]] = []
        self._verbatim: dict[str, list[int]] = {}
        self._main: dict[str, list[int]] = {}
        self._other: dict[str, list[int]] = {}
        self._bare: dict[str, list[int]] = {}
        self._names: list[tuple[str, int]] = []  # (name without article, item), for the steps that search
        for item, row in enumerate(catalog.frame.select("title", "text", "year").iter_rows()):
            self._add(item, *row)

    def match(self, query: str) -> Match:
        """Return the one item that `query` means.

        Raises:
            DataError: Nothing matches (the message gives the nearest titles), or several items do (it lists their ids).
        """
        stripped = query.strip()
        if not stripped:
            raise DataError("an empty title", expected="an item id or a title")
        marked = stripped.removeprefix("id:").strip()
        if marked != stripped and marked in self._catalog:
            return Match(query, marked, self._catalog.title(marked), "id")
        base, year = split_year(stripped)
        parsed = _Query(stripped, normalise(stripped), main_name(base), year)
        for how, step in self._steps():
            items = step(parsed)
            if len(items) > 1:
                raise self._ambiguous(parsed, items)
            if items:
                item_id = self._ids[items[0]]
                by_id = how == "title" and item_id == stripped
                return Match(query, item_id, self._catalog.title(item_id), "id" if by_id else how)
        raise self._unknown(parsed)

    def _add(self, item: int, title: str | None, text: str, column_year: int | None) -> None:
        base, title_year = split_year(title or "")
        years = frozenset(year for year in (title_year, column_year) if year is not None)
        self._years.append(years)
        for verbatim in dict.fromkeys((title, text)):
            if verbatim:
                self._verbatim.setdefault(verbatim, []).append(item)
        name = main_name(base)
        others = other_names(base)
        _put(self._main, [name, *(f"{name} {year}" for year in years)], item)
        _put(self._other, others, item)
        bare = [without_article(bare_name) for bare_name in (name, *others) if bare_name]
        _put(self._bare, [*bare, *(f"{bare_name} {year}" for bare_name in bare for year in years)], item)
        self._names.extend((bare_name, item) for bare_name in dict.fromkeys(bare))

    def _steps(self) -> Iterable[tuple[How, Callable[[_Query], list[int]]]]:
        return (
            ("title", self._find_verbatim),
            ("title", lambda query: self._look_up(self._main, query)),
            ("other name", lambda query: self._look_up(self._other, query)),
            ("other name", lambda query: self._look_up(self._bare, query, bare=True)),
            ("part of title", lambda query: self._search(query, str.startswith)),
            ("part of title", lambda query: self._search(query, lambda name, part: f" {part}" in f" {name}")),
            ("part of title", lambda query: self._search(query, _has_all_words)),
            ("typing error", self._find_mistyped),
        )

    def _find_verbatim(self, query: _Query) -> list[int]:
        """An id that is also another item's title without its year ("300") means either, so both are found."""
        items = set(self._verbatim.get(query.text, []))
        if query.text in self._catalog:
            items |= {self._position[query.text], *self._main.get(_key(query.whole), [])}
        return sorted(items)

    def _look_up(self, table: dict[str, list[int]], query: _Query, *, bare: bool = False) -> list[int]:
        keys = [_key(without_article(name) if bare else name) for name in (query.name, query.whole) if name]
        return self._of_year(query, {item for key in keys for item in table.get(key, [])})

    def _search(self, query: _Query, fits: Callable[[str, str], bool]) -> list[int]:
        part = without_article(query.name)
        if len(part) < _SHORTEST_PART:
            return []
        # With a year the query is meant as a whole title, so a part must at least be half of one ("Heat (1996)" is not
        # "Heat and Dust").
        longest = 2 * len(part) if query.year is not None else sys.maxsize
        number = set(numerals(part))
        fitting = ((name, item) for name, item in self._names if len(name) <= longest and fits(name, part))
        return self._of_year(query, {item for name, item in fitting if number <= set(numerals(name))})

    def _find_mistyped(self, query: _Query) -> list[int]:
        wanted = without_article(query.name)
        limit = allowed_typos(wanted)
        near = [(name, item) for name, item in self._names if abs(len(name) - len(wanted)) <= limit]
        if not limit or not near:
            return []
        edits = edit_distances(wanted, [name for name, _ in near])
        number = numerals(wanted)
        edits_of: dict[int, int] = {}
        for (name, item), distance in zip(near, edits.tolist(), strict=True):
            if distance <= limit and numerals(name) == number:
                edits_of[item] = min(distance, edits_of.get(item, distance))
        kept = self._of_year(query, edits_of)
        best = min((edits_of[item] for item in kept), default=0)
        return [item for item in kept if edits_of[item] == best]

    def _of_year(self, query: _Query, candidates: Iterable[int]) -> list[int]:
        """Items of the year asked for, if one was; those without any year only where no item has it."""
        items = sorted(candidates)
        if query.year is None:
            return items
        exact = [item for item in items if query.year in self._years[item]]
        return exact or [item for item in items if not self._years[item]]

    def _ambiguous(self, query: _Query, items: Sequence[int]) -> DataError:
        more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
        return DataError(
            f'title "{printable(query.text)}" fits {len(items)} items',
            found=f"{self._listed(items[:_LISTED])}{more}",
            expected="one",
            hint="Give the full title with its year, or the id as id:...",
        )

    def _unknown(self, query: _Query) -> DataError:
        nearest = self._nearest(query)
        return DataError(
            f'no item has the title "{printable(query.text)}"',
            found=f"nearest: {self._listed(nearest)}" if nearest else "nothing like it",
            expected=f"an item id or a title of the catalogue ({len(self._ids)} items)",
        )

    def _nearest(self, query: _Query) -> list[int]:
        """At most 5 items whose titles share most letter triples with the query, the nearest first."""
        wanted = _triples(without_article(query.name))
        alike: dict[int, float] = {}
        for name, item in self._names:
            own = _triples(name)
            share = 2 * len(wanted & own) / (len(wanted) + len(own))
            if share >= _ALIKE:
                alike[item] = max(alike.get(item, 0.0), share)
        return sorted(alike, key=lambda item: (-alike[item], self._ids[item]))[:5]

    def _listed(self, items: Sequence[int]) -> str:
        """Titles (with their years, where the titles do not state them) and ids, safe to print."""
        shown = []
        for item in items:
            title = printable(self._catalog.title(self._ids[item]))
            year = "" if split_year(title)[1] or not self._years[item] else f" ({max(self._years[item])})"
            shown.append(f'"{title}"{year} = id:{printable(self._ids[item])}')
        return ", ".join(shown)


def edit_distances(word: str, texts: Sequence[str]) -> NDArray[np.int64]:
    """Edits (insert, delete, replace, swap two neighbours) that turn `word` into each of `texts`.

    Optimal string alignment distance, shape (len(texts),), computed for all of them at once: the loops run over
    letters, not over strings.
    """
    width = max((len(text) for text in texts), default=0)
    codes = np.zeros((width + 1, len(texts)), dtype=np.int64)
    for column, text in enumerate(texts):
        codes[1 : len(text) + 1, column] = [ord(char) for char in text]
    letters = [0, *(ord(char) for char in word)]
    rows = [np.repeat(np.arange(width + 1)[:, None], len(texts), axis=1)]
    for i in range(1, len(word) + 1):
        row = np.empty_like(rows[-1])
        row[0] = i
        for j in range(1, width + 1):
            replaced = rows[-1][j - 1] + (codes[j] != letters[i])
            row[j] = np.minimum(np.minimum(rows[-1][j], row[j - 1]) + 1, replaced)
            if i > 1 and j > 1:
                swapped = (codes[j] == letters[i - 1]) & (codes[j - 1] == letters[i])
                row[j] = np.where(swapped, np.minimum(row[j], rows[-2][j - 2] + 1), row[j])
        rows = [rows[-1], row]
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return rows[-1][lengths, np.arange(len(texts))]


def _key(name: str) -> str:
    return name.replace(" ", "")


def _put(table: dict[str, list[int]], names: Iterable[str], item: int) -> None:
    for key in dict.fromkeys(_key(name) for name in names if name):
        table.setdefault(key, []).append(item)


def _has_all_words(name: str, part: str) -> bool:
    return set(part.split()) <= set(name.split())


def _triples(name: str) -> set[str]:
    padded = f"  {name} "
    return {padded[start : start + 3] for start in range(len(padded) - 2)}
