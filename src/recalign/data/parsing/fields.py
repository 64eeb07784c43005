"""Text fields to values: ratings, times, years, yes/no. Null means "not of that form"; the reader rejects the row.

All are polars expressions, so 100 million rows take the same path as one.
"""

from __future__ import annotations

from math import inf
from typing import Final

import polars as pl

from recalign.data.schema import SECOND

Checks = list[tuple[pl.Expr, str]]
"""Conditions that condemn a row, each with the reason (for `accounting.sift`)."""

NO_USER: Final = "missing user id"
NO_ITEM: Final = "missing item id"
NO_TITLE: Final = "missing title"
BAD_RATING: Final = "rating is not a number"
BAD_TIME: Final = "time is not a whole number of seconds"
TOO_LATE: Final = "time is beyond the year 5138 in the unit that it is read in"

# What programs write for a missing value, in lower case.
PLACEHOLDERS: Final = ("nan", "null", "none", "n/a", "#n/a", "<na>", "nat", "\\n", "(null)", "undefined")
# Microseconds: beyond it lies the year 5138.
MAX_TIME: Final = 100_000_000_000 * SECOND


def identifier(name: str) -> pl.Expr:
    """An id without surrounding blanks; null where nothing is left."""
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def own_identifier(name: str) -> pl.Expr:
    """The same of a user's own table, where programs may have written ``nan`` or ``NULL`` for a missing id."""
    text = pl.col(name).str.strip_chars()
    return pl.when(~text.str.to_lowercase().is_in(["", *PLACEHOLDERS])).then(text).alias(name)


def number(name: str, *, decimal_comma: bool = False) -> pl.Expr:
    """Float64, or null."""
    text = pl.col(name).str.strip_chars()
    if decimal_comma:
        text = text.str.replace(",", ".", literal=True)
    return text.cast(pl.Float64, strict=False).alias(name)


def yes_no(name: str) -> pl.Expr:
    """1.0 for 1, true, yes, t, y; 0.0 for 0, false, no, f, n (any case); else null."""
    text = pl.col(name).str.strip_chars().str.to_lowercase().str.replace(r"^([01])\.0+$", "$1")
    truth = text.is_in(["1", "true", "yes", "t", "y"])
    false = text.is_in(["0", "false", "no", "f", "n"])
    return pl.when(truth).then(1.0).when(false).then(0.0).alias(name)


def seconds(name: str) -> pl.Expr:
    """A whole number of seconds since 1970, not negative, as microseconds (Int64), or null."""
    text = pl.col(name).str.strip_chars()
    # Digits only: a cast alone would also take "+5".
    count = pl.when(text.str.contains(r"^\d{1,18}$")).then(text.cast(pl.Int64, strict=False))
    return (count.clip(upper_bound=MAX_TIME // SECOND) * SECOND).alias(name)


def date(name: str) -> pl.Expr:
    """YYYY-MM-DD as microseconds from 1970 to its midnight UTC (Int64), or null."""
    return pl.col(name).str.strip_chars().str.to_date("%Y-%m-%d", strict=False).dt.epoch("us").alias(name)


def rating_checks(low: float = -inf, high: float = inf, step: float = 0) -> Checks:
    """Conditions that condemn a row by its Float64 column `rating`: finite, from `low` to `high` in steps of `step`."""
    value = pl.col("rating")
    checks = [
        (value.is_null() | ~value.is_finite(), BAD_RATING),
        ((value < low) | (value > high), f"rating outside {low:g} to {high:g}"),
    ]
    if step:
        checks.append((value / step % 1 != 0, f"rating not in steps of {step:g}"))
    return checks


def time_checks() -> Checks:
    """Conditions that condemn a row by its Int64 column `timestamp`."""
    time = pl.col("timestamp")
    return [(time.is_null(), BAD_TIME), (time.abs() >= MAX_TIME, TOO_LATE)]


def id_checks() -> Checks:
    """Conditions that condemn a row without user or item."""
    return [(pl.col("user_id").is_null(), NO_USER), (pl.col("item_id").is_null(), NO_ITEM)]


def item_checks() -> Checks:
    """Conditions that condemn an item without id or title."""
    return [(pl.col("item_id").is_null(), NO_ITEM), title_check()]


def title_check() -> tuple[pl.Expr, str]:
    """The condition that condemns a row without title."""
    return (pl.col("title").fill_null("").str.strip_chars() == "", NO_TITLE)


def year_in(text: pl.Expr) -> pl.Expr:
    """The first four-digit year 1000–2999 in a text, Int32 or null."""
    return text.str.extract(r"(?:^|\D)([12]\d{3})(?:\D|$)").cast(pl.Int32)


def title_year() -> pl.Expr:
    """The year that ends a `title` in brackets (MovieLens: ``Heat (1995)``, also ``(1995–1998)``), Int32 or null."""
    return pl.col("title").str.extract(r"\(([12]\d{3})(?:[-–]\d{0,4})?\)\s*$").cast(pl.Int32)
