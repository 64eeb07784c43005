"""Text fields to values: ratings, times, years, yes/no. Null means "not of that form"; the reader rejects the row.

All are polars expressions, so 100 million rows take the same path as one.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal

import polars as pl

Checks = list[tuple[pl.Expr, str]]
"""Conditions that condemn a row, each with the reason (for `accounting.sift`)."""

NO_USER: Final = "missing user id"
NO_ITEM: Final = "missing item id"
NO_TITLE: Final = "missing title"
BAD_RATING: Final = "rating is not a number"
BAD_TIME: Final = "time is not whole seconds, a date or an ISO date and time"
MILLISECONDS: Final = "time is too large for seconds (milliseconds?)"

# Seconds beyond the year 5138; the same moment in milliseconds is 1973.
_MAX_SECONDS: Final = 100_000_000_000
_ISO: Final = (
    r"^\s*(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2})?)(?:[.,]\d+)?\s*"
    r"(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?\s*$"
)


def identifier(name: str) -> pl.Expr:
    """An id without surrounding blanks; null where nothing is left."""
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


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


def seconds(name: str, form: Literal["seconds", "date", "any"]) -> pl.Expr:
    """Seconds since 1970 UTC (Int64), or null.

    Args:
        name: String column.
        form: ``seconds``: a whole number of seconds, not negative; ``date``: YYYY-MM-DD, midnight UTC; ``any``:
            either, or an ISO 8601 date and time (UTC where it names no offset; fractions of a second are cut off).
    """
    text = pl.col(name).str.strip_chars()
    if form == "date":
        return text.str.to_date("%Y-%m-%d", strict=False).dt.epoch("s").cast(pl.Int64).alias(name)
    whole = text.str.replace(r"\.0+$", "") if form == "any" else text
    # Digits only: a cast alone would also take "+5" and "1e3".
    count = pl.when(whole.str.contains(r"^\d{1,18}$")).then(whole.cast(pl.Int64, strict=False))
    return count.alias(name) if form == "seconds" else pl.coalesce(count, _iso_seconds(name)).alias(name)


def _iso_seconds(name: str) -> pl.Expr:
    parts = pl.col(name).str.extract_groups(_ISO)
    date = parts.struct.field("date").str.to_date("%Y-%m-%d", strict=False)
    clock = parts.struct.field("time")
    full = pl.when(clock.str.len_bytes() == 5).then(clock + ":00").otherwise(clock.fill_null("00:00:00"))
    time = full.str.to_time("%H:%M:%S", strict=False)
    zone = parts.struct.field("zone").fill_null("Z").str.replace(":", "", literal=True)
    digits = zone.str.slice(1).str.pad_end(4, "0")
    hours, minutes = (digits.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (0, 2))
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    offset = pl.when(zone.is_in(["Z", "UTC"])).then(0).otherwise(sign * (hours * 3600 + minutes * 60))
    return date.dt.epoch("s").cast(pl.Int64) + time.cast(pl.Int64) // 1_000_000_000 - offset


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
    return [(time.is_null(), BAD_TIME), (time >= _MAX_SECONDS, MILLISECONDS)]


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
