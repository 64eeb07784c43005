"""MovieTweetings: ratings of 0 to 10, UTF-8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.readers.movietweetings import read_movietweetings
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()


@pytest.fixture
def folder(write: Write) -> Path:
    write("movies.dat", "0002844::Fantômas: À l'ombre (1913)::Crime|Drama\n0004936::The Bank (1915)::\n")
    return write("ratings.dat", "1::0002844::10::1365029107\n2::0004936::0::1364690142\n").parent


def test_ids_keep_their_zeros_and_a_rating_of_zero_counts(folder: Path, check_books: Check) -> None:
    data = read_movietweetings(folder, PLAIN)
    check_books(data)
    assert data.items.rows() == [
        ("0002844", "Fantômas: À l'ombre (1913)", 1913, None, ["Crime", "Drama"]),
        ("0004936", "The Bank (1915)", 1915, None, []),
    ]
    assert data.interactions.row(0) == ("1", "0002844", 10.0, 1_365_029_107_000_000, 0)
    assert data.interactions["rating"].to_list() == [10.0, 0.0]
    assert "MIT" in data.licence
    assert data.interactions.equals(read_movietweetings(folder / "ratings.dat", PLAIN).interactions)


def test_bad_lines_each_have_a_reason(folder: Path, check_books: Check) -> None:
    with (folder / "ratings.dat").open("a") as handle:
        handle.write("1::0004936::11::5\n1::0004936::7.5::5\n1::9::7::5\n1::0004936::7\n")
    data = read_movietweetings(folder, PLAIN)
    check_books(data)
    assert data.rejects.frame().select("line", "reason").rows() == [
        (3, "rating outside 0 to 10"),
        (4, "rating not in steps of 1"),
        (5, "unknown item"),
        (6, "not a row of this format"),
    ]


def test_movies_must_be_there(folder: Path) -> None:
    (folder / "movies.dat").unlink()
    with pytest.raises(DataError, match=r"movies\.dat"):
        read_movietweetings(folder, PLAIN)


@pytest.mark.real_data
def test_real_snapshot(real_data: Path, check_books: Check) -> None:
    data = read_movietweetings(real_data / "movietweetings-100k", PLAIN)
    check_books(data)
    assert [(a.lines, a.parsed) for a in data.accounts] == [(10_506, 10_506), (100_000, 100_000)]
    assert data.interactions["user_id"].n_unique() == 16_554
    assert data.items.height == 10_506
