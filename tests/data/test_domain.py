from __future__ import annotations

import pytest
from pydantic import ValidationError

from recalign.data.domain import Domain


def test_words_come_from_the_language_and_the_noun() -> None:
    assert Domain().model_dump() == {
        "language": "en",
        "noun": "item",
        "noun_plural": "items",
        "verb": "like",
        "past": "liked",
        "consumed": "chosen",
        "yes": "Yes.",
        "no": "No.",
    }
    assert (Domain(noun="movie").noun_plural, Domain(noun="movie").consumed) == ("movies", "watched")
    nouns = ("shoe", "box", "toy", "category")
    assert [Domain(noun=noun).noun_plural for noun in nouns] == ["shoes", "boxes", "toys", "categories"]
    german = Domain(language="de-AT", noun="Schuh", noun_plural="Schuhe")
    assert (german.yes, german.no, german.past, german.primary_language) == ("Ja.", "Nein.", "gemocht", "de")


def test_given_words_win_and_survive_storage() -> None:
    domain = Domain(noun="book", noun_plural="tomes", yes="Sure.", no="Never.", language="fr")
    assert (domain.noun_plural, domain.yes) == ("tomes", "Sure.")
    assert Domain(**domain.model_dump()) == domain


@pytest.mark.parametrize(
    "values",
    [
        {"yes": "Same.", "no": "Same."},
        {"noun": "two\nlines"},
        {"noun": ""},
        {"noun": " padded"},
        {"noun": "movie", "colour": "red"},
        {"language": "not a tag"},
    ],
)
def test_unusable_words_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Domain.model_validate(values)
