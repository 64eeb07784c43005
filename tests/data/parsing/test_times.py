"""Times of every form: what they are in microseconds, which forms agree, and what is refused."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.parsing.accounting import FileTally, RejectLedger
from recalign.data.parsing.parquet_rows import parquet_rows, read_parquet
from recalign.data.parsing.times import TimeColumn, TimeUnit, time_checks
from recalign.errors import DataError

PATH = Path("shop/ratings.csv")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MAY = 1714521600_000_000  # 2024-05-01, midnight UTC
UNITS: dict[TimeUnit, int] = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
MICROSECOND = dt.timedelta(microseconds=1)


def read(texts: list[str | None], unit: TimeUnit = "auto", column: TimeColumn | None = None) -> pl.DataFrame:
    rows = pl.DataFrame(
        {"timestamp": texts, "line": range(2, 2 + len(texts))}, schema_overrides={"timestamp": pl.String}
    )
    return (column or TimeColumn(unit)).read(rows, PATH)


def times(*texts: str | None, unit: TimeUnit = "auto") -> list[int | None]:
    return read(list(texts), unit)["timestamp"].to_list()


def form(*texts: str, unit: TimeUnit = "auto") -> str:
    column = TimeColumn(unit)
    read(list(texts), unit, column)
    return column.form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        (" 881250949 ", 881250949_000_000),
        ("881250949.0", 881250949_000_000),
        ("881250949.", 881250949_000_000),
        ("881250949.0000019", 881250949_000_001),
        ("1.5", 1_500_000),
        ("-1", -1_000_000),
        ("-1.25", -1_250_000),
        ("-0.25", -250_000),
        ("1714521600123", MAY + 123_000),
        ("1714521600123.4567", MAY + 123_456),
        ("-1714521600123", -MAY - 123_000),
        ("1714521600123456", MAY + 123_456),
        ("1714521600123456.9", MAY + 123_456),
        ("1714521600123456789", MAY + 123_456),
        ("20240501", MAY),
        ("20240501.0", MAY),
        ("202405011230", MAY + 45_000_000_000),
        ("20240501123000", MAY + 45_000_000_000),
        ("19690720", -14_256_000_000_000),
        ("2024-05-01", MAY),
        ("1970-01-01T01:00", 3600_000_000),
        ("1970-01-01 00:00:05", 5_000_000),
        ("1970-01-01T00:00:05.999Z", 5_999_000),
        ("1970-01-01T00:00:05,9999999 UTC", 5_999_999),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00-0130", 5400_000_000),
        ("1969-12-31T23:59:59.75", -250_000),
        ("20240501T123000Z", MAY + 45_000_000_000),
        ("20240501T1430+02", MAY + 45_000_000_000),
        ("1e9", None),
        ("+5", None),
        ("2020-13-01", None),
        ("2020-01-01T25:00", None),
        ("2020-01-01T10:00+1", None),
        ("01/02/2020", None),
        ("1.714.521.600", None),
        ("never", None),
        ("", None),
        (None, None),
    ],
)
def test_every_form_is_read_to_the_microsecond(text: str | None, expected: int | None) -> None:
    assert times(text) == [expected]


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("seconds", "20240501", 20240501_000_000),
        ("milliseconds", "20240501", 20240501_000),
        ("milliseconds", "-1.2345", -1_234),
        ("microseconds", "5", 5),
        ("nanoseconds", "1714521600123456789", MAY + 123_456),
        ("nanoseconds", "-1", -1),
        ("milliseconds", "5000000000", 5_000_000_000_000),
    ],
)
def test_a_named_unit_holds_for_every_number(unit: TimeUnit, text: str, expected: int) -> None:
    assert times(text, unit=unit) == [expected]


def reasons(*texts: str, unit: TimeUnit = "auto") -> list[str | None]:
    frame = read(list(texts), unit)
    checks = [pl.when(condition).then(pl.lit(reason)) for condition, reason in time_checks()]
    return frame.select(pl.coalesce(checks)).to_series().to_list()


def test_what_is_no_time_or_too_late_has_a_reason_and_what_is_blank_has_none() -> None:
    late = "time is beyond the year 5138 in the unit that it is read in"
    wrong = "time is neither a number nor a date such as 2024-05-01 or 20240501, with or without a time of day"
    assert reasons("5", "", " ", "never") == [None, None, None, wrong]
    assert reasons("1714521600123", "1714521600", unit="seconds") == [late, None]
    assert reasons("9223372036854775807", "-9223372036854775807", unit="milliseconds") == [late, late]
    assert reasons("9999-12-31", "2024-05-01") == [late, None]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("1714521600", "", "20240501"), r"line 2 of ratings\.csv, '1714521600' \(seconds\) and line 4 of ratings\.csv,"
         r" '20240501' \(a date of digits\); expected one form in a column\. Name their unit: --time-unit seconds"),
        (("20240501", "20241301"), r"line 2 .*a date of digits.* line 3 .*'20241301' \(seconds\).*--time-unit"),
        (("1714521600", "1714521600", "1714521600123"), r"line 2 .*line 4 .*\(milliseconds\).*--time-unit"),
        (("1714521600123456", "1714521600123456789"), r"microseconds\) and .*nanoseconds\).*--time-unit"),
        (("2024-05-01", "x", "5"), r"line 2 .*'2024-05-01' \(a date\) and line 4 .*Write all times in one form"),
        (("2024-05-01", "20240502"), r"a date\) and .*a date of digits\)"),
        (("2024-05-01", "2024-05-01T10:00", "2024-05-01T10:00Z"), r"line 3 .*without offset.* line 4 .*with offset"),
        (("5", "5000000000"), r"unit of times is unclear; found line 3 .*'5000000000'.*Name their unit: --time-unit"),
        (("20241301000000",), "unclear"),
        (("9999999999999999999",), "unclear"),
    ],
)  # fmt: skip
def test_mixed_forms_and_unclear_units_are_refused_with_their_lines(texts: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        times(*texts)


def test_forms_are_compared_across_blocks_and_files() -> None:
    column = TimeColumn("auto")
    read(["1714521600"], column=column)
    read(["", "1714521601.5"], column=column)
    with pytest.raises(
        DataError, match=r"line 2 of ratings\.csv, '1714521600' .* and line 2 of ratings\.csv, '2024-05-01'"
    ):
        read(["2024-05-01"], column=column)


def test_dates_under_a_named_unit_are_refused() -> None:
    with pytest.raises(DataError, match=r"'2024-05-01'.*a number, as --time-unit seconds says\. Leave out --time-unit"):
        times("1714521600", "2024-05-01", unit="seconds")


def test_the_form_is_told_in_words() -> None:
    assert form("1714521600", "7.5") == "seconds since 1970 (by their size)"
    assert form("1714521600123") == "milliseconds since 1970 (by their size)"
    assert form("5", unit="milliseconds") == "milliseconds since 1970"
    assert form("20240501") == "dates of digits (UTC)"
    assert form("2024-05-01") == "dates (UTC)"
    assert form("2024-05-01T10:00", "2024-05-01") == "dates and times without offset (taken as UTC)"
    assert form("2024-05-01", "2024-05-01T10:00Z") == "dates and times with their offset"
    assert form("", "never") == ""


moments = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2099, 12, 31), timezones=st.just(dt.UTC))


def written(moment: dt.datetime, unit: TimeUnit) -> str:
    """A moment as a decimal number of the unit, exactly."""
    count = (moment - EPOCH) // MICROSECOND
    sign, count = "-" if count < 0 else "", abs(count)
    if UNITS[unit] >= 10**6:
        return f"{sign}{count * (UNITS[unit] // 10**6)}"
    whole, fraction = divmod(count, 10**6 // UNITS[unit])
    return f"{sign}{whole}.{fraction:0{len(str(10**6 // UNITS[unit])) - 1}d}"


@settings(max_examples=60, deadline=None)
@given(st.lists(moments, min_size=1, max_size=8), st.integers(-14 * 60, 14 * 60))
def test_any_instant_comes_back_from_every_form(instants: list[dt.datetime], offset: int) -> None:
    exact = [(moment - EPOCH) // MICROSECOND for moment in instants]
    for unit in get_args(TimeUnit)[1:]:
        assert times(*(written(moment, unit) for moment in instants), unit=unit) == exact
    zone = dt.timezone(dt.timedelta(minutes=offset))
    assert times(*(moment.astimezone(zone).isoformat() for moment in instants)) == exact
    assert times(*(moment.strftime("%Y%m%dT%H%M%S.%f%z") for moment in instants)) == exact
    whole = [count // 10**6 * 10**6 for count in exact]
    assert times(*(moment.strftime("%Y-%m-%d %H:%M:%S") for moment in instants)) == whole
    assert times(*(moment.strftime("%Y%m%d%H%M%S") for moment in instants)) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(moments, min_size=2, max_size=8))
def test_what_is_recognised_is_what_would_be_named(instants: list[dt.datetime]) -> None:
    """A unit found by size is never another one than the column has; where it is not clear, it is refused."""
    for unit in get_args(TimeUnit)[1:]:
        texts = [written(moment, unit) for moment in instants]
        near = all(abs(moment - EPOCH) < dt.timedelta(days=300) for moment in instants)
        with contextlib.suppress(DataError):
            assert near or times(*texts) == times(*texts, unit=unit)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals(-(10**9), 10**9, places=9), min_size=2, max_size=8))
def test_order_is_kept(numbers: list[object]) -> None:
    for unit in get_args(TimeUnit)[1:]:
        found = times(*(f"{number:f}" for number in sorted(numbers)), unit=unit)  # type: ignore[type-var]
        assert found == sorted(found)  # type: ignore[type-var]


@settings(max_examples=40, deadline=None)
@given(instants=st.lists(st.none() | moments, min_size=1, max_size=6), unit=st.sampled_from(["ms", "us", "ns"]))
def test_parquet_times_of_every_type_come_back(
    tmp_path_factory: pytest.TempPathFactory, instants: list[dt.datetime | None], unit: str
) -> None:
    step = {"ms": 1000, "us": 1, "ns": 1}[unit]
    exact = [None if moment is None else (moment - EPOCH) // MICROSECOND // step * step for moment in instants]
    utc = pl.Series("timestamp", instants, dtype=pl.Datetime("us", "UTC")).cast(pl.Datetime(unit, "UTC"))
    columns = {
        "zoned": utc.dt.convert_time_zone("Asia/Kolkata"),
        "naive": utc.dt.replace_time_zone(None),
        "number": pl.Series(exact, dtype=pl.Int64),
    }
    for name, column in columns.items():
        path = tmp_path_factory.mktemp("times") / "r.parquet"
        column.alias("timestamp").to_frame().write_parquet(path)
        tally = FileTally(path, 0, RejectLedger())
        [rows] = parquet_rows(tally, read_parquet(tally.input), {"timestamp": 0})
        found = TimeColumn("microseconds" if name == "number" else "auto").read(rows, path)
        assert found["timestamp"].to_list() == exact
        assert found["timeless"].to_list() == [moment is None for moment in instants]
