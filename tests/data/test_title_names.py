from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.data.title_names import (
    front_article,
    main_name,
    normalise,
    numerals,
    other_names,
    split_year,
    without_article,
)


@pytest.mark.parametrize(
    ("title", "parts"),
    [
        ("Heat (1995)", ("Heat", 1995)),
        ("Heat", ("Heat", None)),
        ("2001: A Space Odyssey (1968) ", ("2001: A Space Odyssey", 1968)),
        ("(1995)", ("(1995)", None)),
        ("Series (2006–2007)", ("Series (2006–2007)", None)),
    ],
)
def test_split_year(title: str, parts: tuple[str, int | None]) -> None:
    assert split_year(title) == parts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Léon: The Professional", "leon the professional"),
        ("Schindler’s List", "schindlers list"),
        ("Dumb & Dumber", "dumb and dumber"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Øre Ærlig Łódź", "ore aerlig lodz"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
        ("???", ""),
        ("Ночной дозор", "ночнои дозор"),
    ],
)
def test_normalise(text: str, name: str) -> None:
    assert normalise(text) == name


@given(st.text())
def test_normalise_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("title", "fronted"),
    [
        ("Silence of the Lambs, The", "The Silence of the Lambs"),
        ("Avventura, L'", "L'Avventura"),
        ("Boot, Das", "Das Boot"),
        ("Corrina, Corrina", "Corrina, Corrina"),
        ("Good, the Bad, and the Ugly, The", "The Good, the Bad, and the Ugly"),
    ],
)
def test_front_article(title: str, fronted: str) -> None:
    assert front_article(title) == fronted


def test_other_names_are_outside_and_inside_of_parentheses() -> None:
    assert other_names("Seven (a.k.a. Se7en)") == ["seven", "se7en"]
    assert other_names("Hate (Haine, La)") == ["hate", "la haine"]
    assert other_names("Heat") == []
    assert other_names("(500) Days of Summer") == ["days of summer", "500"]


def test_articles_that_belong_to_the_title_stay() -> None:
    assert without_article(main_name("The Godfather")) == "godfather"
    assert without_article("die hard") == "die hard"
    assert without_article("the") == "the"


def test_numerals() -> None:
    assert numerals("rocky ii") == ("ii",)
    assert numerals("apollo 13 and se7en") == ("13", "se7en")
