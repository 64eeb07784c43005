from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.prompting.parsing import list_readings, target_readings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('"Heat (1995)"', ["Heat (1995)"]),
        ('"Heat (1995)", "Silence of the Lambs, The (1991)"', ["Heat (1995)", "Silence of the Lambs, The (1991)"]),
        ('"A" written by X, "B, C" written by Y Z', ['"A" written by X', '"B, C" written by Y Z']),
        ('"Say, "Hello"" written by X, "B" written by Y', ['"Say, "Hello"" written by X', '"B" written by Y']),
        ('"A" written by J "j"", "B" written by Y', ['"A" written by J "j""', '"B" written by Y']),
        ('"A" written by X, "Jr"', ['"A" written by X, "Jr"']),
    ],
)
def test_the_likeliest_reading_comes_first(text: str, expected: list[str]) -> None:
    assert next(iter(list_readings(text))) == expected


def test_text_that_is_no_list_has_no_reading() -> None:
    assert list(list_readings("no quotes")) == []


def test_target_readings() -> None:
    assert list(target_readings('"A"written byB')) == ['"A" written by B', '"A"written byB']
    assert list(target_readings('"A"')) == ["A", '"A"']
    assert list(target_readings("A")) == ["A"]


@given(st.lists(st.text(alphabet='ab, "written by', min_size=1), min_size=1, max_size=4))
def test_every_reading_of_an_authored_list_joins_to_the_same_text(titles: list[str]) -> None:
    text = ", ".join(f'"{title}" written by someone' for title in titles)
    assert ", ".join(next(iter(list_readings(text)))) == text
