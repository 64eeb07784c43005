"""Text to values."""

from __future__ import annotations

import polars as pl
import pytest

from recalign.data.parsing import fields


def value(expression: pl.Expr, text: str | None, name: str = "x") -> object:
    return pl.DataFrame({name: [text]}, schema={name: pl.String()}).select(expression.alias("value")).item()


@pytest.mark.parametrize(("text", "expected"), [("  7 ", "7"), ("007", "007"), ("  ", None), ("", None), (None, None)])
def test_identifier(text: str | None, expected: str | None) -> None:
    assert value(fields.identifier("x"), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [(" 4.5", 4.5), ("1e1", 10.0), ("", None), ("4,5", None), ("four", None)]
)
def test_number(text: str, expected: float | None) -> None:
    assert value(fields.number("x"), text) == expected


def test_number_with_decimal_comma() -> None:
    assert value(fields.number("x", decimal_comma=True), "4,5") == 4.5
    assert value(fields.number("x", decimal_comma=True), "1.000,5") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ("0", 0.0),
        ("1.0", 1.0),
        ("TRUE", 1.0),
        (" no ", 0.0),
        ("y", 1.0),
        ("", None),
        ("2", None),
        ("maybe", None),
    ],
)
def test_yes_no(text: str, expected: float | None) -> None:
    assert value(fields.yes_no("x"), text) == expected


def test_seconds_and_dates() -> None:
    assert value(fields.seconds("x"), " 881250949 ") == 881250949_000_000
    for other in ("2020-01-01", "12.0", "-1", "+5", "1e9", "", "9999999999999999999"):
        assert value(fields.seconds("x"), other) is None
    assert value(fields.date("x"), "2005-09-06") == 1125964800_000_000
    assert value(fields.date("x"), "1969-12-31") == -86400_000_000
    assert value(fields.date("x"), "881250949") is None


def first_reason(checks: list[tuple[pl.Expr, str]], **row: object) -> str | None:
    frame = pl.DataFrame({name: [cell] for name, cell in row.items()})
    return next((reason for condition, reason in checks if frame.select(condition.alias("c")).item()), None)


@pytest.mark.parametrize(
    ("rating", "reason"),
    [
        (0.5, None),
        (5.0, None),
        (5.5, "rating outside 0.5 to 5"),
        (0.0, "rating outside 0.5 to 5"),
        (2.7, "rating not in steps of 0.5"),
        (float("nan"), fields.BAD_RATING),
        (float("inf"), fields.BAD_RATING),
    ],
)
def test_rating_scale(rating: float, reason: str | None) -> None:
    assert first_reason(fields.rating_checks(0.5, 5, 0.5), rating=rating) == reason


def test_milliseconds_are_told_apart() -> None:
    for text, reason in (
        ("881250949000", fields.TOO_LATE),
        ("999999999999999999", fields.TOO_LATE),
        ("881250949", None),
    ):
        assert first_reason(fields.time_checks(), timestamp=value(fields.seconds("x"), text)) == reason


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Heat (1995)", 1995),
        ("Two Friends (1986) ", 1986),
        ("Series (2003–2005)", 2003),
        ("1984", None),
        ("X (12)", None),
    ],
)
def test_title_year(title: str, year: int | None) -> None:
    assert value(fields.title_year(), title, "title") == year


@pytest.mark.parametrize(
    ("text", "year"), [("1996", 1996), ("01-Jan-1995", 1995), ("2004-05-06", 2004), ("12/18/07", None), ("12345", None)]
)
def test_year_in(text: str, year: int | None) -> None:
    assert value(fields.year_in(pl.col("x")), text) == year
