"""Amazon-Books: reviews over several lines, authors from the companion table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing.accounting import FileAccount
from recalign.data.readers.amazon_books import BAD_LIST, name_list, read_amazon_books
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()
REVIEWS = "Id,Title,Price,User_id,profileName,review/helpfulness,review/score,review/time,review/summary,review/text\n"
BOOKS = (
    "Title,description,authors,image,previewLink,publisher,publishedDate,infoLink,categories,ratingsCount\r\n"
    '"One, or Two","A\r\nlong ""text""",["Nena O\'Neill"],,,House,1996-05-01,,[\'Fiction\'],3.0\r\n'
    "Three,,\"['A', 'B']\",,,,12/18/07,,,\r\n"
    'Three,,["Other"],,,,,,,\r\n'
    "Bad,,__import__('os'),,,,,,,\r\n"
    ",,['A'],,,,,,,\r\n"
)


def review(
    item: str, title: str, user: str = "U1", score: str = "5.0", at: str = "940636800", text: str = "Fine."
) -> str:
    return f'{item},{title},,{user},"Jim ""of"" Oz",7/7,{score},{at},Nice,"{text}"\n'


def test_reviews_and_books(write: Write, check_books: Check) -> None:
    write("books_data.csv", BOOKS)
    text = REVIEWS + review("0001", '"One, or Two"', text='Line one.\n\nLine ""three"", yes.') + review("0003", "Three")
    text += review("0004", "", user="U2") + review("0004", "Late", user="U3") + review("0005", "", user="U2")
    path = write("Books_rating.csv", text)
    data = read_amazon_books(path.parent, PLAIN)
    check_books(data)
    assert data.items.rows() == [
        ("0001", "One, or Two", 1996, "Nena O'Neill", ["Fiction"], "House"),
        ("0003", "Three", None, "A, B", [], None),
        ("0004", "Late", None, None, None, None),
    ]
    assert data.interactions.row(0) == ("U1", "0001", 5.0, 940636800_000_000, 0)
    # The first review covers three lines; the title of 0004 comes from its second review; 0005 never has one.
    assert data.accounts[1] == FileAccount(str(path), 8, 6, 1, header=1)
    assert data.rejects.frame().select("line", "reason").rows() == [
        (6, BAD_LIST),
        (7, "missing title"),
        (8, "unknown item"),
    ]


def test_bad_reviews_each_have_a_reason(write: Write, check_books: Check) -> None:
    write("books_data.csv", BOOKS)
    rows = [
        review("1", "T", user=""),
        review("", "T"),
        review("1", "T", score="6"),
        review("1", "T", at="-1"),
        "torn,row\n",
    ]
    path = write("Books_rating.csv", REVIEWS + "".join(rows) + review("1", "T"))
    data = read_amazon_books(path, PLAIN)
    check_books(data)
    assert data.rejects.frame().filter(source="Books_rating.csv")["reason"].to_list() == [
        "missing user id",
        "missing item id",
        "rating outside 1 to 5",
        "time is not a whole number of seconds",
        "not a row of this format",
    ]


def test_the_companion_table_is_needed(write: Write) -> None:
    path = write("Books_rating.csv", REVIEWS + review("1", "T"))
    with pytest.raises(DataError, match=r"books_data\.csv"):
        read_amazon_books(path, PLAIN)
    write("books_data.csv", "Title,writers\nA,B\n")
    with pytest.raises(DataError, match="authors"):
        read_amazon_books(path, PLAIN)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("[]", []),
        ("['A']", ["A"]),
        ("['A', \"O'B\" ,'C, D']", ["A", "O'B", "C, D"]),
        (r"['A\'s', 'tab\there', '\xe9\u00e9', 'odd \d']", ["A's", "tab here", "éé", "odd d"]),
        ("['', ' A  B ']", ["A B"]),
        (r"['\ud800']", ["\N{REPLACEMENT CHARACTER}"]),
        ("['A'", None),
        ("A, B", None),
        ("['A' 'B']", None),
        ("[1, 2]", None),
        ("[__import__('os')]", None),
    ],
)
def test_name_list(text: str, names: list[str] | None) -> None:
    assert name_list(text) == names


@settings(max_examples=100)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), max_size=4))
def test_name_list_reads_what_repr_writes(names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert name_list(repr(names)) == [" ".join(name.split()) for name in names if name.split()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.text(st.sampled_from("1,\"\n[]'x "), max_size=60))
def test_any_damage_is_accounted_for(write: Write, check_books: Check, noise: str) -> None:
    write("books_data.csv", BOOKS + noise)
    path = write("Books_rating.csv", REVIEWS + review("1", "T") + noise)
    check_books(read_amazon_books(path, PLAIN))


@pytest.mark.real_data
def test_real_samples(real_data: Path, check_books: Check) -> None:
    path = real_data / "amazon-books"
    data = read_amazon_books(path, PLAIN)
    check_books(data)
    books, reviews = data.accounts
    assert (books.lines, books.header, books.parsed) == (252, 1, 251)
    assert (reviews.lines, reviews.header, reviews.parsed) == (1_000, 1, 769)
    assert data.rejects.counts()["missing user id"] == 223
    assert data.items.height == 111
    assert data.items["author"].null_count() == 5
