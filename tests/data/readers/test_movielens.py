"""MovieLens in its three formats."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing.accounting import FileAccount
from recalign.data.readers.movielens import read_movielens
from recalign.data.readers.movielens_100k import GENRES_100K, read_movielens_100k
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()


def item_line(item: int, title: str, *, released: str = "01-Jan-1995", genres: tuple[str, ...] = ("Drama",)) -> str:
    flags = "|".join("1" if genre in genres else "0" for genre in GENRES_100K)
    return f"{item}|{title}|{released}||http://imdb.example/{item}|{flags}\n"


@pytest.fixture
def small_100k(write: Write) -> Path:
    items = item_line(1, "Café (1994)", genres=("Action", "War")) + item_line(2, "unknown", released="")
    write("u.item", items + item_line(3, "Twice (1990)") + item_line(4, "Twice (1990)"), "latin-1")
    return write("u.data", "7\t1\t5\t100\n7\t2\t1\t90\n8\t4\t3\t100\n").parent


def test_100k(small_100k: Path, check_books: Check) -> None:
    data = read_movielens_100k(small_100k, PLAIN)
    check_books(data)
    assert data.interactions.row(0) == ("7", "1", 5.0, 100_000_000, 0)
    assert data.items.row(0) == ("1", "Café (1994)", 1994, None, ["Action", "War"])
    assert data.items["year"].to_list() == [1994, None, 1990, 1990]
    assert "Harper" in data.licence
    assert data.interactions.equals(read_movielens_100k(small_100k / "u.data", PLAIN).interactions)
    assert data.interactions.equals(read_movielens_100k(small_100k.parent / small_100k.name, PLAIN).interactions)


def test_100k_bad_lines_each_have_a_reason(small_100k: Path, check_books: Check) -> None:
    bad = [
        "7\t3\t6\t1",
        "7\t3\tfive\t1",
        "7\t3\t5",
        "7\t3\t5\tnow",
        "\t3\t5\t1",
        "7\t99\t5\t1",
        "7\t3\t2.5\t1",
        "",
        "7\t1\t5\t100",
    ]
    with (small_100k / "u.data").open("a") as handle:
        handle.write("\n".join(bad))
    data = read_movielens_100k(small_100k, PLAIN)
    check_books(data)
    assert data.interactions.height == 3
    assert data.rejects.frame().filter(source="u.data").select("line", "reason").rows() == [
        (4, "rating outside 1 to 5"),
        (5, "rating is not a number"),
        (6, "not a row of this format"),
        (7, "time is not a whole number of seconds"),
        (8, "missing user id"),
        (9, "unknown item"),
        (10, "rating not in steps of 1"),
        (11, "empty line"),
        (12, "duplicate"),
    ]


def test_100k_bad_items_are_rejected(small_100k: Path, check_books: Check) -> None:
    with (small_100k / "u.item").open("a") as handle:
        handle.write("5|A|B|C\n" + item_line(6, " ") + item_line(1, "Again (1999)"))
    data = read_movielens_100k(small_100k, PLAIN)
    check_books(data)
    reasons = data.rejects.frame().filter(source="u.item").select("line", "reason").rows()
    assert reasons == [(5, "not a row of this format"), (6, "missing title"), (7, "item id occurs before")]
    assert data.items.filter(item_id="1")["title"].item() == "Café (1994)"


def test_missing_and_foreign_files_are_one_line_errors(small_100k: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"an empty folder.*u\.data"):
        read_movielens_100k(tmp_path / "empty", PLAIN)
    with pytest.raises(DataError, match="nothing there"):
        read_movielens_100k(tmp_path / "nowhere", PLAIN)
    (small_100k / "u.item").rename(small_100k / "other")
    with pytest.raises(DataError, match=r"u\.item"):
        read_movielens_100k(small_100k, PLAIN)
    data = read_movielens_100k(small_100k, SourceOptions(items=small_100k / "other"))
    assert data.items.height == 4
    (small_100k / "u.data").write_text("user,item,rating\n1,2,3\n")
    with pytest.raises(DataError, match=r"no usable rating.*not a row of this format \(2\)"):
        read_movielens_100k(small_100k, SourceOptions(items=small_100k / "other"))


def test_latest_csv(write: Write, check_books: Check) -> None:
    write("movies.csv", 'movieId,title,genres\n1,"Matrix, The (1999)",Action|Sci-Fi\n2,No Year,(no genres listed)\n')
    path = write("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.5,10\n1,2,0.5,11\n2,1,4.7,12\n")
    data = read_movielens(path.parent, PLAIN)
    check_books(data)
    assert data.items.rows() == [
        ("1", "Matrix, The (1999)", 1999, None, ["Action", "Sci-Fi"]),
        ("2", "No Year", None, None, []),
    ]
    assert data.interactions["rating"].to_list() == [4.5, 0.5]
    assert data.accounts[1] == FileAccount(str(path), 4, 2, 1, header=1)


def test_latest_csv_with_other_columns_is_refused(write: Write) -> None:
    write("movies.csv", "movieId,title,genres\n1,A,Drama\n")
    path = write("ratings.csv", "user,movie,stars\n1,1,4\n")
    with pytest.raises(DataError, match=r"found user, movie, stars; expected the columns userId"):
        read_movielens(path, PLAIN)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_dat(write: Write, check_books: Check, encoding: str) -> None:
    write("movies.dat", "1::Élan: A Story::II (1995)::Drama|War\n2::B (1990)::Comedy\n", encoding)
    path = write("ratings.dat", "1::1::5::978300760\n1::2::3.5::978302109\nbroken\n")
    data = read_movielens(path.parent, PLAIN)
    check_books(data)
    assert data.items.row(0) == ("1", "Élan: A Story::II (1995)", 1995, None, ["Drama", "War"])
    assert data.interactions.height == 2
    assert len(data.rejects) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.text(st.sampled_from('12\t|:,"x \r'), max_size=14), max_size=10))
def test_any_damage_is_accounted_for(write: Write, check_books: Check, noise: list[str]) -> None:
    damage = "\n".join(noise)
    write("u.item", item_line(1, "A (1990)") + damage)
    check_books(read_movielens_100k(write("u.data", "7\t1\t5\t100\n" + damage).parent, PLAIN))
    write("movies.csv", "movieId,title,genres\n1,A,Drama\n" + damage)
    check_books(read_movielens(write("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.5,10\n" + damage), PLAIN))
    write("movies.dat", "1::A::Drama\n" + damage)
    check_books(read_movielens(write("ratings.dat", "1::1::5::978300760\n" + damage), PLAIN))


@pytest.mark.real_data
def test_real_100k(real_data: Path, check_books: Check) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        data = read_movielens_100k(real_data / "ml-100k", PLAIN)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.4
    check_books(data)
    assert [(a.lines, a.parsed, a.rejected) for a in data.accounts] == [(1682, 1682, 0), (100_000, 100_000, 0)]
    assert data.interactions["user_id"].n_unique() == 943
    assert data.items.filter(pl.col("title").is_duplicated()).height == 36
    assert data.items["year"].null_count() == 1


@pytest.mark.real_data
def test_real_latest_small(real_data: Path, check_books: Check) -> None:
    data = read_movielens(real_data / "ml-latest-small", PLAIN)
    check_books(data)
    assert [(a.lines, a.header, a.parsed) for a in data.accounts] == [(9743, 1, 9742), (100_837, 1, 100_836)]
    assert data.interactions["user_id"].n_unique() == 610
    assert len(data.rejects) == 0
