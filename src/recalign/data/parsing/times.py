"""The times of a user's own table: in which form a column has them, and what they are in microseconds.

Every value says its own form: numbers by their size, dates by their digits. A column has one form, and a file is read
once, block by block, so the first value of another form is an error that names both lines. Nothing is guessed: a number
that could have two units is an error too, and `TimeUnit` settles it.

A number is taken for the one unit in which it lies between 1973 and 2100, or for seconds where it lies nearer to 1970.
The ranges of the four units do not meet. 20240501, 202405011230 and 20240501123000 are dates where there are such.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import polars as pl

from recalign.data.parsing.fields import MAX_TIME, TOO_LATE, Checks
from recalign.data.schema import SECOND
from recalign.errors import DataError

TimeUnit = Literal["auto", "seconds", "milliseconds", "microseconds", "nanoseconds"]

BAD_TIME: Final = "time is neither a number nor a date such as 2024-05-01 or 20240501, with or without a time of day"

# How many of a unit are a second.
_PER_SECOND: Final[dict[str, int]] = {
    "seconds": 1,
    "milliseconds": 1_000,
    "microseconds": 1_000_000,
    "nanoseconds": 1_000_000_000,
}
_FROM, _TO = 100_000_000, 4_102_444_800  # seconds from 1970 to 1973 and to 2100
_UNCLEAR: Final = "a number that fits no unit"
_COMPACT: Final = "a date of digits"
_DATE: Final = "a date"
_LOCAL: Final = "a time without offset"
_ZONED: Final = "a time with offset"
# Midnight is midnight: a date goes with both, but a time without offset can be hours away from one with it.
_AGREE: Final = ({_DATE, _LOCAL}, {_DATE, _ZONED})
_WORDS: Final[dict[str, str]] = {
    _COMPACT: "dates of digits (UTC)",
    _DATE: "dates (UTC)",
    _LOCAL: "dates and times without offset (taken as UTC)",
    _ZONED: "dates and times with their offset",
}
_FORMS: Final = pl.Enum([*_PER_SECOND, _UNCLEAR, *_WORDS])
_HINT: Final = "Name their unit: --time-unit seconds, milliseconds, microseconds or nanoseconds"

_NUMBER: Final = r"^(-?\d{1,19})(?:\.\d*)?$"
_DIGITS: Final = r"^((?:19|20)\d{6}(?:\d{4}(?:\d{2})?)?)(?:\.0*)?$"
_ISO: Final = (
    r"^(?P<date>\d{4}-\d{2}-\d{2}|\d{8})"
    r"(?P<clock>[T ](?P<time>\d{2}:\d{2}(?::\d{2})?|\d{4}(?:\d{2})?)(?:[.,](?P<fraction>\d+))?"
    r"\s*(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?$"
)


class TimeColumn:
    """Reads one column of times, block by block, and knows which forms it has met."""

    def __init__(self, unit: TimeUnit) -> None:
        """`unit` is that of numbers; ``auto`` finds it by their size."""
        self._unit = unit
        self._met: dict[str, str] = {}  # form -> where it was met first, for messages

    def read(self, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
        """Turn the text column `timestamp` of rows of the file `path` into microseconds since 1970 UTC (Int64).

        Returns:
            The rows; `timestamp` is null where it is blank (then `timeless` is true) or of no form (`time_checks`).

        Raises:
            DataError: a value disagrees with the form of an earlier one, or its unit is unclear.
        """
        text = rows["timestamp"].cast(pl.String).fill_null("").str.strip_chars()
        table = pl.DataFrame({"text": text, "line": rows["line"], "whole": text.str.extract(_NUMBER)})
        is_other = table["whole"].is_null() & (text != "")
        table = table.with_columns(_of_digits(), *_of_iso(known=is_other.any())).with_columns(_form(self._unit))
        firsts = table.drop_nulls("form").unique("form", keep="first", maintain_order=True)
        for line, value, form in firsts.select("line", "text", "form").iter_rows():
            self._meet(form, f"line {line} of {path.name}, {value!r} ({form})")
        numbers = [pl.when(form=unit).then(_microseconds(unit)) for unit in _PER_SECOND if unit in firsts["form"]]
        dates = [pl.when(form=_COMPACT).then("digits"), pl.col("iso")]
        values = table.select(pl.coalesce(*numbers, *dates).alias("timestamp")).to_series()
        return rows.with_columns(values, (text == "").alias("timeless"))

    def _meet(self, form: str, place: str) -> None:
        if form == _UNCLEAR:
            raise DataError(
                "the unit of times is unclear",
                found=place,
                expected="seconds from 1840 to 2100, or milliseconds, microseconds or nanoseconds from 1973 to 2100",
                hint=_HINT,
            )
        if self._unit != "auto" and form != self._unit:
            expected = f"a number, as --time-unit {self._unit} says"
            raise DataError("times are no numbers", found=place, expected=expected, hint="Leave out --time-unit")
        for earlier, earlier_place in self._met.items():
            if earlier != form and not any({earlier, form} <= forms for forms in _AGREE):
                has_unit = not {earlier, form} & {_DATE, _LOCAL, _ZONED}
                hint = f"{_HINT}, if all are numbers of one unit" if has_unit else "Write all times in one form"
                found = f"{earlier_place} and {place}"
                raise DataError("times of different forms", found=found, expected="one form in a column", hint=hint)
        self._met.setdefault(form, place)

    @property
    def form(self) -> str:
        """The form of the column, in words; empty where all of it is blank."""
        form = next((form for form in reversed(_WORDS) if form in self._met), "")
        if form or not self._met:
            return _WORDS.get(form, "")
        return f"{next(iter(self._met))} since 1970{' (by their size)' if self._unit == 'auto' else ''}"


def time_checks() -> Checks:
    """Conditions that condemn a row after `TimeColumn.read`."""
    time = pl.col("timestamp")
    return [(time.is_null() & ~pl.col("timeless"), BAD_TIME), (time.abs() >= MAX_TIME, TOO_LATE)]


def _of_digits() -> pl.Expr:
    """Column `digits`: the date that 8, 12 or 14 digits of `text` are, in microseconds, or null."""
    digits = pl.col("text").str.extract(_DIGITS).str.pad_end(14, "0")
    return digits.str.to_datetime("%Y%m%d%H%M%S", strict=False).dt.epoch("us").alias("digits")


def _of_iso(*, known: bool) -> list[pl.Expr]:
    """Columns `iso` (microseconds or null), `clock` and `zone` (null where `text` has none) of ISO 8601.

    Most columns are numbers, and reading dates is slow: unless any is `known` to be there, all are null.
    """
    if not known:
        kinds = {"iso": pl.Int64, "clock": pl.String, "zone": pl.String}
        return [pl.lit(None, kind).alias(name) for name, kind in kinds.items()]
    parts = pl.col("text").str.extract_groups(_ISO).struct
    date = parts.field("date").str.replace_all("-", "", literal=True).str.to_date("%Y%m%d", strict=False)
    clock = parts.field("time").fill_null("").str.replace_all(":", "", literal=True).str.pad_end(6, "0")
    time = clock.str.to_time("%H%M%S", strict=False).cast(pl.Int64) // 1_000
    zone = parts.field("zone").replace(["Z", "UTC"], "+0000").fill_null("+0000")
    digits = zone.str.slice(1).str.replace(":", "", literal=True).str.pad_end(4, "0")
    hours, minutes = (digits.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (0, 2))
    offset = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1) * (hours * 60 + minutes) * 60 * SECOND
    value = date.dt.epoch("us") + time + _fraction(parts.field("fraction"), 6) - offset
    return [value.alias("iso"), parts.field("clock"), parts.field("zone")]


def _form(unit: TimeUnit) -> pl.Expr:
    """Column `form` of `text`, given what else it may be; null for text of no form."""
    dates = pl.when(pl.col("iso").is_not_null()).then(
        pl.when(pl.col("clock").is_null()).then(pl.lit(_DATE))
        .when(pl.col("zone").is_null()).then(pl.lit(_LOCAL))
        .otherwise(pl.lit(_ZONED))
    )  # fmt: skip
    number = pl.when(pl.col("whole").is_not_null())
    if unit != "auto":
        return pl.coalesce(number.then(pl.lit(unit)), dates).cast(_FORMS).alias("form")
    size = pl.col("whole").cast(pl.Int64, strict=False).abs()
    fits = [pl.when(size <= _TO).then(pl.lit("seconds"))]
    for name, per in list(_PER_SECOND.items())[1:]:
        fits.append(pl.when(size.is_between(_FROM * per, _TO * per)).then(pl.lit(name)))
    compact = pl.when(pl.col("digits").is_not_null()).then(pl.lit(_COMPACT))
    return pl.coalesce(compact, number.then(pl.coalesce(*fits, pl.lit(_UNCLEAR))), dates).cast(_FORMS).alias("form")


def _microseconds(unit: str) -> pl.Expr:
    """The number in `text` in microseconds; beyond the limit of `time_checks` it becomes that limit."""
    whole, per = pl.col("whole").cast(pl.Int64, strict=False), _PER_SECOND[unit]
    if per > SECOND:
        return whole // (per // SECOND)
    limit = MAX_TIME // (SECOND // per)
    sign = pl.when(pl.col("text").str.starts_with("-")).then(-1).otherwise(1)
    fraction = _fraction(pl.col("text").str.extract(r"\.(\d+)$"), len(str(SECOND // per)) - 1)
    return whole.clip(-limit, limit) * (SECOND // per) + sign * fraction


def _fraction(digits: pl.Expr, places: int) -> pl.Expr:
    """The first `places` decimals as a whole number; further ones are cut off."""
    return digits.fill_null("").str.slice(0, places).str.pad_end(max(1, places), "0").cast(pl.Int64)
