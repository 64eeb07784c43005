"""BookCrossing, as published and as mangled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.readers.bookcrossing import EMPTY_ROW, SHIFTED, read_bookcrossing
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()
HEADER = (
    '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"\r\n'
)
NUMBERS = "0;1;2;3;4;5;6;7\n"


def book(isbn: str, title: str, author: str = "Ann Author", year: str = "1999") -> str:
    return f'"{isbn}";"{title}";"{author}";"{year}";"House & Co";"s";"m";"l"\r\n'


def test_the_original_files(write: Write, check_books: Check) -> None:
    text = (
        HEADER + book("01", "Plain") + book("02", r"The \"Real\" One; and more", year="0") + book("03", r"Ends \"so\"")
    )
    write(
        "BX-Books.csv",
        text + book("04", r"Slash \\", author="") + book("05", r"Café &amp; \"\"", year="2001"),
        "latin-1",
    )
    ratings = (
        '"User-ID";"ISBN";"Book-Rating"\r\n"1";"01";"0"\r\n"1";"02";"10"\r\n"2";"\\"03\\"";"5"\r\n"2";"9X";"5"\r\n'
    )
    path = write("BX-Book-Ratings.csv", ratings)
    data = read_bookcrossing(path.parent, PLAIN)
    check_books(data)
    assert data.items.drop("genres").rows() == [
        ("01", "Plain", 1999, "Ann Author", "House & Co"),
        ("02", 'The "Real" One; and more', None, "Ann Author", "House & Co"),
        ("03", 'Ends "so"', 1999, "Ann Author", "House & Co"),
        ("04", "Slash \\", 1999, None, "House & Co"),
        ("05", 'Café &amp; ""', 2001, "Ann Author", "House & Co"),
    ]
    assert data.interactions.select("user_id", "item_id", "rating").rows() == [
        ("1", "01", 0.0),
        ("1", "02", 10.0),
        ("2", "03", 5.0),
    ]
    assert data.rejects.counts() == {"unknown item": 1}


def test_the_mangled_files(write: Write, check_books: Check) -> None:
    write("BX-Books.subset.csv", NUMBERS + '01;Plain;A;1999;P;s;m;l\n02;"Q &amp; \\It\\"" x";B;0;P;s;m;l\n')
    rows = [
        "User-ID,ISBN,Book-Rating",
        '7,"""01""",0',
        ",,",
        '7,"""02""",11',
        '8,"""02""",',
        '8,"""02,5',
        "",
        ',"AND"";""0""",',
    ]
    path = write("BX-Book-Ratings.mangled.csv", "\r".join([*rows, '9,"""02""",10']))
    data = read_bookcrossing(path, PLAIN)
    check_books(data)
    assert data.items["title"].to_list() == ["Plain", 'Q &amp; \\It\\" x']
    assert data.interactions.select("user_id", "item_id", "rating").rows() == [("7", "01", 0.0), ("9", "02", 10.0)]
    assert data.rejects.frame().select("line", "reason").rows() == [
        (3, EMPTY_ROW),
        (4, "rating outside 0 to 10"),
        (5, "rating is not a number"),
        (6, "not a row of this format"),
        (7, "empty line"),
        (8, "not a row of this format"),
    ]


@pytest.mark.parametrize("header", ["0;1;2\n", "User-ID;ISBN;Rating\n", ""])
def test_headers_of_ratings(write: Write, check_books: Check, header: str) -> None:
    write("Books.csv", "ISBN;Title;Author;Year;Publisher\n01;A;B;1999;C\n")
    path = write("Ratings.csv", header + "5;01;7\n")
    data = read_bookcrossing(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["5"]
    assert data.accounts[1].header == (1 if header else 0)


def test_foreign_headers_are_refused(write: Write) -> None:
    write("Books.csv", "ISBN;Title;Author;Year;Publisher\n01;A;B;1999;C\n")
    with pytest.raises(DataError, match="expected User-ID;ISBN;Book-Rating"):
        read_bookcrossing(write("Ratings.csv", "ISBN;User-ID;Rating\n01;5;7\n"), PLAIN)
    write("Books.csv", "id;name\n01;A\n")
    with pytest.raises(DataError, match="Book-Title"):
        read_bookcrossing(write("Ratings.csv", "5;01;7\n"), PLAIN)


def test_shifted_book_rows_are_rejected(write: Write, check_books: Check) -> None:
    write(
        "BX-Books.csv", NUMBERS + "01;A;B;1999;P;s;m;l\n02;A;B;Penguin;P;s;m;l\n03;A;B;1999;P;s;m\n04;;B;1999;P;s;m;l\n"
    )
    data = read_bookcrossing(write("BX-Book-Ratings.csv", "0;1;2\n5;01;7\n"), PLAIN)
    check_books(data)
    assert data.rejects.frame().select("line", "reason").rows() == [
        (3, SHIFTED),
        (4, "not a row of this format"),
        (5, "missing title"),
    ]


def test_missing_files_are_named(write: Write, tmp_path: Path) -> None:
    path = write("BX-Book-Ratings.csv", "0;1;2\n5;01;7\n")
    with pytest.raises(DataError, match=r"books file.*BX-Books\.csv"):
        read_bookcrossing(path, PLAIN)
    path.unlink()
    with pytest.raises(DataError, match="BX-Book-Ratings"):
        read_bookcrossing(tmp_path, PLAIN)
    write("BX-Book-Ratings.a.csv", "0;1;2\n")
    write("BX-Book-Ratings.b.csv", "0;1;2\n")
    with pytest.raises(DataError, match="2 candidates"):
        read_bookcrossing(tmp_path, PLAIN)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noise=st.lists(st.text(st.sampled_from('15",;\\X '), max_size=14), max_size=10),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    separator=st.sampled_from(",;"),
)
def test_any_damage_is_accounted_for(
    write: Write, check_books: Check, noise: list[str], end: str, separator: str
) -> None:
    write("BX-Books.csv", NUMBERS + "01;A;B;1999;P;s;m;l\n5;B;B;1999;P;s;m;l\n" + "\n".join(noise))
    rows = ["User-ID,ISBN,Book-Rating".replace(",", separator), f"1{separator}01{separator}5", *noise]
    data = read_bookcrossing(write("BX-Book-Ratings.csv", end.join(rows)), PLAIN)
    check_books(data)
    # Nothing is read out of torn quotes: each row that was taken has three whole fields.
    assert not data.interactions["item_id"].cast(pl.String).str.contains('[";,]').any()


@pytest.mark.real_data
def test_real_files(real_data: Path, check_books: Check) -> None:
    path = real_data / "bookcrossing"
    data = read_bookcrossing(path, PLAIN)
    check_books(data)
    books, ratings = data.accounts
    assert (books.lines, books.header, books.parsed) == (15_781, 1, 15_780)
    raw = (path / "BX-Book-Ratings.mangled.csv").read_bytes()
    assert ratings.lines == len(raw.split(b"\r")) == 908_732
    assert (ratings.header, ratings.parsed, ratings.rejected) == (1, 2_831, 905_900)
    assert data.rejects.counts() == {
        EMPTY_ROW: 899_726,
        "unknown item": 6_169,
        "not a row of this format": 4,
        "missing user id": 1,
    }
    assert data.items.filter(pl.col("title").str.contains("&amp;", literal=True)).height > 100
