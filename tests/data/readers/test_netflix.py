"""Netflix Prize: headers, orphans, titles with commas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing import lines
from recalign.data.readers.netflix import BAD_HEADER, ORPHAN, read_netflix
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()
TITLES = '1,2003,One\n2,NULL,Two, or: Deux\n3,1999,Caf\u00e9 "Trois"\n'


def test_combined_files(write: Write, check_books: Check) -> None:
    write("movie_titles.txt", TITLES, "latin-1")
    write("combined_data_1.txt", "1:\n10,3,2005-09-06\n11,5,2005-09-07\n2:\n10,1,2005-09-08\n")
    write("combined_data_2.txt", "3:\n12,4,1999-12-31\n")
    path = write("README", "not data")
    data = read_netflix(path.parent, PLAIN)
    check_books(data)
    assert data.interactions.select("user_id", "item_id", "rating", "timestamp").rows() == [
        ("10", "1", 3.0, 1125964800_000_000),
        ("11", "1", 5.0, 1126051200_000_000),
        ("10", "2", 1.0, 1126137600_000_000),
        ("12", "3", 4.0, 946598400_000_000),
    ]
    assert data.items.select("title", "year").rows() == [("One", 2003), ("Two, or: Deux", None), ('Café "Trois"', 1999)]
    assert [(Path(a.path).name, a.header, a.parsed) for a in data.accounts[1:]] == [
        ("combined_data_1.txt", 2, 3),
        ("combined_data_2.txt", 1, 1),
    ]


def test_orphans_and_damaged_headers_belong_to_no_movie(write: Write, check_books: Check) -> None:
    write("movie_titles.txt", TITLES, "latin-1")
    path = write(
        "combined_data_1.txt", "9,3,2005-01-01\n1:\n10,3,2005-01-01\nx2:\n11,3,2005-01-01\n\n2:\n12,3,2005-01-01\n"
    )
    data = read_netflix(path, PLAIN)
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["10", "12"]
    assert data.rejects.frame().select("line", "reason", "text").rows() == [
        (1, ORPHAN, "9,3,2005-01-01"),
        (4, BAD_HEADER, "x2:"),
        (5, ORPHAN, "11,3,2005-01-01"),
        (6, "empty line", ""),
    ]


def test_the_movie_carries_over_blocks_but_not_over_files(
    write: Write, check_books: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_SNIFF_BYTES", 4)
    monkeypatch.setattr("recalign.data.parsing.lines.line_blocks.__kwdefaults__", {"block_bytes": 4})
    write("movie_titles.txt", TITLES, "latin-1")
    rows = "".join(f"{user},3,2005-01-01\n" for user in range(20))
    path = write("mv_0000001.txt", "1:\n" + rows)
    write("mv_0000002.txt", rows)
    data = read_netflix(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["item_id"].unique().to_list() == ["1"]
    assert data.interactions.height == 20
    assert data.rejects.counts() == {ORPHAN: 20}


def test_mv_files_in_their_folder(write: Write, check_books: Check) -> None:
    write("movie_titles.txt", TITLES, "latin-1")
    path = write("training_set/mv_0000001.txt", "1:\n10,3,2005-09-06\n")
    for start in (path, path.parent, path.parent.parent):
        data = read_netflix(start, PLAIN)
        check_books(data)
        assert data.interactions.height == 1


def test_flat_files_with_and_without_dates(write: Write, check_books: Check) -> None:
    write("movie_titles.csv", '1,2003,One,,,\n2,2004,"Two ""II""", the end,,\n3,2005,Three,,,\n')
    path = write("my_ratings.txt", "1,10,4.0\n2,10,2\n3,10,2.5\n9,10,1\n1,10\n1,11,3,06/09/2005\n")
    data = read_netflix(path.parent, PLAIN)
    check_books(data)
    assert data.interactions.select("user_id", "item_id", "rating").rows() == [("10", "1", 4.0), ("10", "2", 2.0)]
    assert data.interactions["timestamp"].null_count() == 2
    assert data.items["title"].to_list() == ["One", 'Two "II", the end', "Three"]
    assert [reason for _, reason in data.rejects.frame().select("line", "reason").rows()] == [
        "rating not in steps of 1",
        "unknown item",
        "not a row of this format",
        "date is not YYYY-MM-DD",
    ]


def test_bad_titles_are_rejected(write: Write, check_books: Check) -> None:
    write("movie_titles.txt", TITLES + "4,19x9,Four\nfive,1999,Five\n6,1999,\n", "latin-1")
    data = read_netflix(write("combined_data_1.txt", "1:\n10,3,2005-09-06\n"), PLAIN)
    check_books(data)
    reasons = ["year is neither a year nor NULL", "not a row of this format", "missing title"]
    assert data.rejects.frame()["reason"].to_list() == reasons


def test_missing_titles_are_named(write: Write) -> None:
    with pytest.raises(DataError, match="movie_titles"):
        read_netflix(write("combined_data_1.txt", "1:\n10,3,2005-09-06\n"), PLAIN)
    with pytest.raises(DataError, match="combined_data"):
        read_netflix(write("sub/movie_titles.txt", TITLES, "latin-1").parent, PLAIN)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.text(st.sampled_from("12:,-x \r"), max_size=12), max_size=12))
def test_any_damage_is_accounted_for(write: Write, check_books: Check, noise: list[str]) -> None:
    write("movie_titles.txt", TITLES, "latin-1")
    path = write("combined_data_1.txt", "1:\n10,3,2005-09-06\n" + "\n".join(noise))
    check_books(read_netflix(path, PLAIN))


@pytest.mark.real_data
def test_real_files(real_data: Path, check_books: Check) -> None:
    folder = real_data / "netflix-prize"
    data = read_netflix(folder, PLAIN)
    check_books(data)
    assert [(a.lines, a.parsed) for a in data.accounts] == [(17_770, 17_770), (227_773, 227_773)]
    assert data.interactions["user_id"].n_unique() == 28_968
    assert data.interactions["item_id"].n_unique() == 92
    assert data.items["year"].null_count() == 7
    assert data.items.filter(item_id="72")["title"].str.contains(",").item()


@pytest.mark.real_data
def test_real_titles_agree_between_their_two_forms(real_data: Path, check_books: Check) -> None:
    folder = real_data / "netflix-prize"
    text = read_netflix(folder, PLAIN).items
    table = read_netflix(folder, SourceOptions(items=folder / "netflix_movie_titles.csv"))
    check_books(table)
    assert (table.accounts[0].lines, table.accounts[0].parsed) == (17_769, 17_769)
    both = text.join(table.items, on="item_id", suffix="_table")
    assert both.filter(pl.col("title") != pl.col("title_table")).height == 5
