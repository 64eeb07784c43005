"""The user's own tables: column names, separators, encodings, times, and Parquet."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing.accounting import FileAccount
from recalign.data.parsing.times import BAD_TIME
from recalign.data.readers.table import BAD_FLAG, read_table
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import ConfigError, DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()
ITEMS = "item_id,title\na,Alpha\nb,Beta\n"


def test_our_own_names_need_no_mapping(write: Write, check_books: Check) -> None:
    write("items.csv", "item_id,title,year,author,genres,colour\na,Alpha,1999,Ann,Red|Blue,green\nb,Beta,,,,\n")
    path = write("ratings.csv", "user_id,item_id,rating,timestamp\nu,a,4.5,100\nu,b,-2,200\n")
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.items.rows() == [
        ("a", "Alpha", 1999, "Ann", ["Red", "Blue"], "green"),
        ("b", "Beta", None, None, [], ""),
    ]
    assert data.items.columns[-1] == "colour"
    assert data.interactions.rows() == [("u", "a", 4.5, 100_000_000, 0), ("u", "b", -2.0, 200_000_000, 1)]


def test_a_german_shoe_shop(write: Write, check_books: Check) -> None:
    items = write(
        "artikel.csv", 'Artikel;Bezeichnung;Marke;Text\n007;"Stiefel; braun";Größe;x\n8;Pumps;Eß;y\n', "cp1252"
    )
    path = write(
        "bewertungen.csv", "Kunde;Artikel;Sterne;Datum\n1;007;4,5;2024-05-01\n1;8;2;2024-05-02T10:00\n", "cp1252"
    )
    columns = {"user_id": "Kunde", "item_id": "Artikel", "rating": "Sterne", "timestamp": "Datum"}
    options = SourceOptions(columns=columns, item_columns={"title": "Bezeichnung"}, encoding="cp1252", items=items)
    data = read_table(path, options)
    check_books(data)
    assert data.items.select("item_id", "title", "Marke", "Text").row(0) == ("007", "Stiefel; braun", "Größe", "x")
    assert data.interactions.rows() == [
        ("1", "007", 4.5, 1714521600_000_000, 0),
        ("1", "8", 2.0, 1714644000_000_000, 1),
    ]


def test_an_unnamed_encoding_is_not_guessed(write: Write) -> None:
    write("items.csv", "item_id,title\na,Größe\n", "cp1252")
    path = write("ratings.csv", "user_id,item_id\nu,a\n")
    with pytest.raises(DataError, match=r"items\.csv.*not UTF-8.*--encoding"):
        read_table(path.parent, PLAIN)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found(write: Write, check_books: Check, separator: str) -> None:
    write("items.tsv", ITEMS.replace(",", separator))
    path = write("ratings.tsv", "user_id,item_id,rating\nu,a,1\n".replace(",", separator))
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["rating"].to_list() == [1.0]


def test_a_separator_can_be_named(write: Write, check_books: Check) -> None:
    items = write("items.csv", ITEMS.replace(",", "^"))
    data = read_table(write("r.csv", "user_id^item_id\nu^a\n"), SourceOptions(separator="^", items=items))
    check_books(data)
    assert data.interactions.row(0) == ("u", "a", None, None, 0)


def test_titles_from_the_ratings(write: Write, check_books: Check) -> None:
    path = write("r.csv", "user_id,item_id,rating,name,year\nu,a,1,,\nv,a,2,Alpha,1999\nw,a,3,Other,2001\nu,b,1,,\n")
    data = read_table(path, SourceOptions(columns={"title": "name"}))
    check_books(data)
    assert data.items.rows() == [("a", "Alpha", 1999, None, None)]
    assert data.rejects.counts() == {"unknown item": 1}


def test_items_may_be_their_titles(write: Write, check_books: Check) -> None:
    data = read_table(
        write("r.csv", "user_id,what\nu,Alpha\n"), SourceOptions(columns={"item_id": "what", "title": "what"})
    )
    check_books(data)
    assert data.items.select("item_id", "title").rows() == [("Alpha", "Alpha")]


def test_a_liked_column_becomes_one_and_zero(write: Write, check_books: Check) -> None:
    write("items.csv", ITEMS)
    path = write("ratings.csv", "user_id,item_id,liked\nu,a,True\nu,b,0\nv,a,perhaps\n")
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["rating"].to_list() == [1.0, 0.0]
    assert data.rejects.counts() == {BAD_FLAG: 1}


def test_rating_and_liked_together_are_ambiguous(write: Write) -> None:
    write("items.csv", ITEMS)
    path = write("ratings.csv", "user_id,item_id,liked,rating\nu,a,0,5\n")
    with pytest.raises(ConfigError, match="--columns liked="):
        read_table(path.parent, PLAIN)
    assert read_table(path.parent, SourceOptions(columns={"liked": ""})).interactions["rating"].item() == 5.0
    assert read_table(path.parent, SourceOptions(columns={"rating": ""})).interactions["rating"].item() == 0.0


def test_times_may_be_missing_for_all_but_not_for_some(write: Write, check_books: Check) -> None:
    write("items.csv", ITEMS)
    path = write("ratings.csv", "user_id,item_id,timestamp\nu,a,\nu,b,\n")
    data = read_table(path.parent, PLAIN)
    assert data.interactions["timestamp"].null_count() == 2
    path.write_text("user_id,item_id,timestamp\nu,a,\nu,b,5\nv,a,never\nv,b,5e9\n")
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["timestamp"].to_list() == [5_000_000]
    assert data.rejects.frame()["reason"].to_list() == [
        "missing time (other ratings have one)",
        BAD_TIME,
        BAD_TIME,
    ]


def test_bad_rows_each_have_a_reason(write: Write, check_books: Check) -> None:
    write("items.csv", ITEMS + ",none\nc, \na,Again\nx\n")
    path = write("ratings.csv", 'user_id,item_id,rating\nu,a,1\n,a,1\nu,,1\nu,b,good\nu,b\nu,z,1\nu,b,"1\n')
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.rejects.frame().select("source", "line", "reason").rows() == [
        ("items.csv", 4, "missing item id"),
        ("items.csv", 5, "missing title"),
        ("items.csv", 6, "item id occurs before"),
        ("items.csv", 7, "not a row of this format"),
        ("ratings.csv", 3, "missing user id"),
        ("ratings.csv", 4, "missing item id"),
        ("ratings.csv", 5, "rating is not a number"),
        ("ratings.csv", 6, "not a row of this format"),
        ("ratings.csv", 7, "unknown item"),
        ("ratings.csv", 8, "quoted field without an end"),
    ]


@pytest.mark.parametrize(
    ("header", "options", "words"),
    [
        ("user,item_id,rating", {}, r"'user_id' of .*found the columns user, item_id, rating.*--columns user_id=NAME"),
        ("user_id,Item_ID,rating", {}, r"item_id \(did you mean Item_ID\?\). Map it: --columns item_id=NAME$"),
        ("who,what,rating", {}, r"--columns user_id=NAME, or name the separator"),
        ("user_id,item_id", {"columns": {"rating": "stars"}}, r"'stars' of .*a column for rating"),
        ("user_id,item_id,item_id", {}, "twice"),
        ('"user_id,item_id', {}, "header of"),
    ],
)
def test_wrong_headers(write: Write, header: str, options: dict[str, object], words: str) -> None:
    write("items.csv", ITEMS)
    path = write("ratings.csv", header + "\nu,a,1\n")
    with pytest.raises(DataError, match=words):
        read_table(path.parent, SourceOptions(**options))  # type: ignore[arg-type]


def test_items_without_titles_are_refused(write: Write) -> None:
    path = write("ratings.csv", "user_id,item_id\nu,a\n")
    with pytest.raises(DataError, match="a column for title"):
        read_table(path, PLAIN)
    items = write("items.csv", "item_id,name,name\na,b,c\n")
    with pytest.raises(DataError, match="--item-columns title=NAME"):
        read_table(path, SourceOptions(items=items))
    with pytest.raises(DataError, match="'name' twice"):
        read_table(path, SourceOptions(items=write("items.csv", "item_id,title,name,name\na,b,c,d\n")))


def test_a_wrong_name_that_holds_for_both_files_is_told_so(write: Write) -> None:
    items = write("items.csv", "Artikelnr,Titel\na,A\n")
    path = write("ratings.csv", "user_id,Artikelnr\nu,a\n")

    def told(**options: object) -> str:
        with pytest.raises(DataError) as refused:
            read_table(path, SourceOptions(items=items, **options))  # type: ignore[arg-type]
        return str(refused.value)

    message = told(columns={"item_id": "Artikelnummer"})
    assert message.startswith(
        f"column 'Artikelnummer' (--columns item_id=Artikelnummer, which holds for both files) of {items}; "
    )
    assert "did you mean Artikelnr?" in message
    assert message.endswith(
        "Correct it: --columns item_id=Artikelnr. Or, where only the items file differs: --item-columns "
        "item_id=Artikelnr"
    )
    assert "Correct it: --columns item_id=NAME." in told(columns={"item_id": "WRONG"})
    # What the items' own mapping says is no matter of the other one; nor is a name that neither maps.
    assert told(columns={"item_id": "WRONG"}, item_columns={"item_id": "x"}).startswith("column 'x' of ")
    assert "both files" not in told(columns={"item_id": "Artikelnr"})
    assert "both files" not in told()


def test_forgotten_items_are_suggested(write: Write) -> None:
    path = write("ratings.csv", "user_id,item_id\nu,a\n")
    with pytest.raises(DataError, match=r"Titles in a file of their own: --items FILE\. In this one: --columns title"):
        read_table(path, PLAIN)
    with pytest.raises(DataError) as refused:
        read_table(path, SourceOptions(items=write("items.csv", "item_id,name\na,b\n")))
    assert "--items FILE" not in str(refused.value)


def test_options_are_validated() -> None:
    with pytest.raises(ValueError, match="unknown column 'stars'"):
        SourceOptions(columns={"stars": "x"})
    with pytest.raises(ValueError, match="unknown column 'rating'"):
        SourceOptions(item_columns={"rating": "x"})
    with pytest.raises(ValueError, match=r"unknown column 'Kunde'; .*Our name comes first: write user_id=Kunde"):
        SourceOptions(columns={"Kunde": "user_id"})
    with pytest.raises(ValueError, match="write title=Name"):
        SourceOptions(item_columns={"Name": "title"})
    with pytest.raises(ValueError, match="Did you mean user_id") as misspelt:
        SourceOptions(columns={"userid": "Kunde"})
    assert "comes first" not in str(misspelt.value)
    for separator in ("", ',"', '"', "\n"):
        with pytest.raises(ValueError, match="one character"):
            SourceOptions(separator=separator)


def test_columns_named_like_our_book_keeping(write: Write, check_books: Check) -> None:
    write("items.csv", "item_id,title,line,text,file,lines,readable,reason\na,Alpha,1,2,3,4,5,6\n")
    data = read_table(write("ratings.csv", "user_id,item_id\nu,a\n").parent, PLAIN)
    check_books(data)
    assert data.items.select("line", "text", "file", "lines", "readable", "reason").row(0) == tuple("123456")


def test_a_wide_table_with_quotes(write: Write, check_books: Check) -> None:
    names = [f"x{number}" for number in range(300)]
    cells = ['"v ""q"", w"' if number % 7 == 0 else "" for number in range(300)]
    write("items.csv", ",".join(["item_id", *names, "title"]) + "\n" + ",".join(["a", *cells, "Alpha"]) + "\n")
    data = read_table(write("ratings.csv", "user_id,item_id\nu,a\n").parent, PLAIN)
    check_books(data)
    assert data.items["x294"].item() == 'v "q", w'
    assert data.items["title"].item() == "Alpha"


def test_parquet(tmp_path: Path, check_books: Check) -> None:
    moment = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
    ratings = pl.DataFrame(
        {
            "user_id": [1.0, 2.0, None],
            "item_id": [10, 11, 10],
            "rating": pl.Series([4.5, 2.0, 3.0], dtype=pl.Float32),
            "timestamp": [moment, moment, moment],
        }
    )
    items = pl.DataFrame(
        {"item_id": [10, 11], "title": ["Ten", "Eleven"], "genres": [["A, B"], []], "price": [1.5, None]}
    ).with_columns(pl.col("title").cast(pl.Categorical))
    ratings.write_parquet(tmp_path / "ratings.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    data = read_table(tmp_path, PLAIN)
    check_books(data)
    assert data.interactions.rows() == [
        ("1", "10", 4.5, 1714564800_000_000, 0),
        ("2", "11", 2.0, 1714564800_000_000, 1),
    ]
    assert data.items.rows() == [("10", "Ten", None, None, ["A, B"], 1.5), ("11", "Eleven", None, None, [], None)]
    assert data.accounts[1] == FileAccount(str(tmp_path / "ratings.parquet"), 3, 2, 1)
    with pytest.raises(ConfigError, match="Parquet"):
        read_table(tmp_path, SourceOptions(separator=";"))


def test_parquet_flags_dates_and_foreign_types(tmp_path: Path, check_books: Check) -> None:
    path = tmp_path / "r.parquet"
    frame = pl.DataFrame(
        {"user_id": ["u", "u"], "item_id": ["a", "b"], "liked": [True, False], "title": ["A", "B"]}
    ).with_columns(pl.lit(dt.date(1970, 1, 2)).alias("timestamp"))
    frame.write_parquet(path)
    data = read_table(path, PLAIN)
    check_books(data)
    assert data.interactions.select("rating", "timestamp").rows() == [(1.0, 86400_000_000), (0.0, 86400_000_000)]
    frame.with_columns(pl.struct("item_id").alias("user_id")).write_parquet(path)
    with pytest.raises(DataError, match=r"column 'user_id'.*Struct"):
        read_table(path, PLAIN)


def test_ids_that_programs_have_spoilt(write: Write, tmp_path: Path, check_books: Check) -> None:
    write("items.csv", "item_id,title\n17,A\n18,B\n19.5,C\nNULL,D\n")
    path = write("ratings.csv", "user_id,item_id\nu,17\nu,17.0\nv,18.00\n")
    with pytest.raises(DataError, match=r"^item ids in two spellings; found '17\.0' beside '17', '18\.00' beside '18'"):
        read_table(path.parent, PLAIN)
    write("ratings.csv", "user_id,item_id\n1,17\n1.0,18\n")
    with pytest.raises(DataError, match=r"^user ids in two spellings; found '1\.0' beside '1'; .*whole numbers"):
        read_table(path.parent, PLAIN)
    for damaged in ("1.23457E+12,17", "u,1e+05"):
        write("ratings.csv", f"user_id,item_id\nu,17\n{damaged}\n")
        with pytest.raises(DataError, match=r"in line 3, which has lost digits.*Export the column as text"):
            read_table(path.parent, PLAIN)
    write("ratings.csv", "user_id,item_id\nnan,17\nu,18\nu,None\n1.0,19.5\nNancy,17\n1E5,17\n")
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["u", "1.0", "Nancy", "1E5"]
    assert data.rejects.counts() == {"missing item id": 2, "missing user id": 1}


def test_words_for_a_missing_value_are_no_author_and_no_genre(write: Write, check_books: Check) -> None:
    write("items.csv", "item_id,title,author,genres\na,Alpha,NULL,nan\nb,Beta,Nan Shepherd,Drama|None|War\n")
    data = read_table(write("ratings.csv", "user_id,item_id\nu,a\n").parent, PLAIN)
    check_books(data)
    assert data.items.select("author", "genres").rows() == [(None, []), ("Nan Shepherd", ["Drama", "War"])]


def test_a_unit_without_times_is_refused(write: Write) -> None:
    write("items.csv", ITEMS)
    path = write("ratings.csv", "user_id,item_id,at\nu,a,5\n")
    with pytest.raises(ConfigError, match=r"no column of times.*--columns timestamp=NAME"):
        read_table(path.parent, SourceOptions(time_unit="milliseconds"))
    data = read_table(path.parent, SourceOptions(time_unit="milliseconds", columns={"timestamp": "at"}))
    assert data.interactions["timestamp"].to_list() == [5_000]
    assert data.time_form == "milliseconds since 1970"


@pytest.mark.parametrize("name", ["user_id", "item_id"])
def test_ids_in_floats_are_whole_or_refused(tmp_path: Path, check_books: Check, name: str) -> None:
    path = tmp_path / "r.parquet"
    columns: dict[str, pl.Series] = {key: pl.Series(["1", "2"]) for key in ("user_id", "item_id", "title")}
    for kind, limit in ((pl.Float32(), 2.0**24), (pl.Float64(), 2.0**53)):
        pl.DataFrame({**columns, name: pl.Series([1.0, limit - 1], dtype=kind)}).write_parquet(path)
        data = read_table(path, PLAIN)
        check_books(data)
        assert data.interactions[name].to_list() == ["1", str(int(limit) - 1)]
        pl.DataFrame({**columns, name: pl.Series([1.0, limit], dtype=kind)}).write_parquet(path)
        with pytest.raises(DataError, match=rf"column for {name} of .*{limit:.0f} in a column of {kind}, which rounds"):
            read_table(path, PLAIN)
    decimals = pl.Series(["17.00", "18.50"]).cast(pl.Decimal(10, 2))
    pl.DataFrame({**columns, name: decimals}).write_parquet(path)
    assert read_table(path, PLAIN).interactions[name].to_list() == ["17", "18.50"]


def test_times_in_parquet(tmp_path: Path, check_books: Check) -> None:
    path = tmp_path / "r.parquet"

    def times(*values: object, kind: pl.DataType) -> list[int | None]:
        count = len(values)
        ids = {"user_id": ["u"] * count, "item_id": list("abc")[:count], "title": list("ABC")[:count]}
        pl.DataFrame({**ids, "timestamp": pl.Series(values, dtype=kind, strict=False)}).write_parquet(path)
        data = read_table(path, PLAIN)
        check_books(data)
        return data.interactions["timestamp"].to_list()

    for kind in (pl.Null(), pl.Float64(), pl.Int64(), pl.Datetime("ns", "UTC"), pl.Date(), pl.String()):
        assert times(None, None, kind=kind) == [None, None]  # as a blank column of a CSV file
    assert times(float("nan"), float("nan"), kind=pl.Float64()) == [None, None]
    assert times(1.5, 1714521600.125, kind=pl.Float64()) == [1_500_000, 1714521600_125_000]
    assert times(1714521600_123_456_768.0, kind=pl.Float64()) == [1714521600_123_456]
    with pytest.raises(DataError, match=r"1714521600 in a column of Float32, which rounds .*Write the column as whole"):
        times(1714521600.0, kind=pl.Float32())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 900), flip=st.integers(0, 900))
def test_damaged_parquet_is_a_data_error_or_data(tmp_path: Path, cut: int, flip: int) -> None:
    path = tmp_path / "r.parquet"
    pl.DataFrame({"user_id": ["u"] * 9, "item_id": list("abcdefghi"), "title": list("abcdefghi")}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[flip % len(content)] ^= 0xFF
    path.write_bytes(content[: len(content) - cut % 2 * cut])
    with contextlib.suppress(DataError):
        read_table(path, PLAIN)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.text(st.sampled_from('ua1,;"\n\r.é'), max_size=60), separator=st.sampled_from(",;"))
def test_any_damage_is_accounted_for(write: Write, check_books: Check, noise: str, separator: str) -> None:
    write("items.csv", (ITEMS + noise).replace(",", separator))
    path = write("ratings.csv", ("user_id,item_id,rating\nu,a,1\n" + noise).replace(",", separator))
    check_books(read_table(path.parent, PLAIN))
