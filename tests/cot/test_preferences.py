"""Sentences about a taste, from whatever the catalogue has."""

from __future__ import annotations

import polars as pl
import pytest

from recalign.cot.preferences import PreferenceWriter
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.samples import HistoryEntry
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError

ROWS = [
    ("1", "Star Trek (1979)", None, None, ["Sci-Fi"]),
    ("2", "Star Trek II (1982)", None, None, ["Sci-Fi", "Action"]),
    ("3", "Saw (2004)", None, None, ["Horror"]),
    ("4", "Saw II (2005)", None, None, ["Horror"]),
    ("5", "E.T. (1982)", None, None, ["Sci-Fi", "(no genres listed)"]),
    ("6", "It", 1986, "Stephen King", None),
    ("7", "Misery", 1987, "Stephen King", None),
    ("8", "", None, None, None),
]


def write(liked: str, disliked: str = "", domain: Domain | None = None) -> str:
    catalog = ItemCatalog.from_items(pl.DataFrame(ROWS, schema=ITEMS, orient="row"), "{title}")
    history = [HistoryEntry(item, True) for item in liked] + [HistoryEntry(item, False) for item in disliked]
    return PreferenceWriter(catalog, domain or Domain(noun="movie")).write(history)


def test_genres_decades_and_words_of_what_was_liked() -> None:
    assert write("125", "34") == (
        "The user seems to enjoy movies of the genres Sci-Fi and Action. Most of them are from the 1980s. "
        'Several titles contain "Star" and "Trek". The user seems to care less for Horror.'
    )


def test_authors_of_books() -> None:
    said = write("67", domain=Domain(noun="book"))
    assert said == "Favourite authors are Stephen King. Most of them are from the 1980s."


def test_a_genre_that_is_disliked_more_often_is_no_favourite() -> None:
    assert "Horror" not in write("15 3".replace(" ", ""), "44")
    assert "Horror" in write("135")


def test_who_liked_nothing_enjoys_nothing_in_particular() -> None:
    assert write("", "34") == "The user seems to care less for Horror."
    assert write("", "8") == "The user seems to enjoy movies of many kinds."


def test_german() -> None:
    assert write("12", domain=Domain(language="de", noun_plural="Filme")).startswith(
        "Die Person mag offenbar Filme der Art"
    )
    with pytest.raises(ConfigError, match=r"'fr'.*de or en"):
        write("1", domain=Domain(language="fr"))
