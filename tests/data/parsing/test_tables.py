"""One table in every container and format: the same rows, the same accounts; options and headers that do not fit."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recalign.data.parsing.accounting import FileAccount
from recalign.data.readers.table import read_table
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import ConfigError, DataError

Write = Callable[..., Path]
Check = Callable[[SourceData], None]
PLAIN = SourceOptions()
ITEMS = "item_id,title\na,Alpha\nb,Beta\n"
# Quotes, a field over two lines, a torn line, an unknown item, an empty line, and no line end at the end.
HARD = 'user_id,item_id,rating,note\nu,a,1,"x, ""y"""\nu,b,2,"two\nlines"\nv,a,"3\nv,z,4,\n\nv,b,5,Größe'
HARD_REJECTS = [(5, "quoted field without an end"), (6, "unknown item"), (7, "empty line")]


def plain(content: bytes) -> bytes:
    return content


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("data/export.csv", content)
    return buffer.getvalue()


PACKS = {"plain": plain, "gzip": gzip.compress, "zip": zipped}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "named"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", True), ("cp1252", True)]
)
def test_every_text_in_every_container(
    write: Write, check_books: Check, pack: Callable[[bytes], bytes], end: str, encoding: str, named: bool
) -> None:
    items = write("items", pack(ITEMS.encode(encoding)))
    path = write("ratings", pack(HARD.replace("\n", end).encode(encoding)))
    data = read_table(path, SourceOptions(items=items, encoding=encoding if named else None))
    check_books(data)
    assert data.interactions.select("user_id", "item_id", "rating").rows() == [
        ("u", "a", 1.0),
        ("u", "b", 2.0),
        ("v", "b", 5.0),
    ]
    assert data.rejects.frame().select("source", "line", "reason").rows() == [("ratings", *row) for row in HARD_REJECTS]
    assert data.accounts == (
        FileAccount(str(items), 3, 2, 0, header=1),
        FileAccount(str(path), 8, 4, 3, header=1),
    )


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_an_unnamed_encoding_is_told_in_every_container(write: Write, pack: Callable[[bytes], bytes]) -> None:
    path = write("ratings", pack("user_id,item_id,title\nu,a,Größe\n".encode("cp1252")))
    with pytest.raises(DataError, match=rf"{path}.*not UTF-8.*--encoding"):
        read_table(path, PLAIN)
    path = write("ratings", pack(codecs.BOM_UTF16_LE + "user_id".encode("utf-16-le")))
    with pytest.raises(DataError, match=rf"{path}; found UTF-16 text.*--encoding utf-16"):
        read_table(path, PLAIN)


@pytest.mark.parametrize("pack", [plain, gzip.compress])
def test_parquet_in_every_container_and_under_any_name(
    tmp_path: Path, write: Write, check_books: Check, pack: Callable[[bytes], bytes]
) -> None:
    frame = pl.DataFrame({"user_id": ["u", None], "item_id": ["a", "b"], "title": ["A", "B"]})
    frame.write_parquet(tmp_path / "x")
    data = read_table(write("ratings.csv", pack((tmp_path / "x").read_bytes())), PLAIN)
    check_books(data)
    assert data.accounts[0].lines == 2
    assert data.rejects.counts() == {"missing user id": 1}


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson", "r.txt"])
@pytest.mark.parametrize("pack", [plain, gzip.compress])
def test_json_lines(write: Write, check_books: Check, name: str, pack: Callable[[bytes], bytes]) -> None:
    lines = [
        {"user": 7, "item_id": "a", "rating": 4.5, "title": "Alpha", "genres": ["X", "Y, Z"], "more": {"deep": [1]}},
        {"user": "u", "item_id": "b", "rating": 1, "title": "Beta"},
        {"user": "u", "item_id": "a", "rating": [3], "title": "Alpha"},
        {"user": None, "item_id": "a", "rating": 3, "title": "Alpha"},
    ]
    text = "\n".join(["{ " + json.dumps(line)[1:] for line in lines]) + "\nno json\n\n"
    path = write(name, pack(("\ufeff" + text).encode()))
    data = read_table(path, SourceOptions(columns={"user_id": "user"}))
    check_books(data)
    assert data.interactions.select("user_id", "item_id", "rating").rows() == [("7", "a", 4.5), ("u", "b", 1.0)]
    assert data.items.select("title", "genres").rows() == [("Alpha", ["X", "Y, Z"]), ("Beta", [])]
    assert data.accounts == (FileAccount(str(path), 6, 2, 4),)
    assert data.rejects.frame().select("line", "reason").rows() == [
        (3, "a list or object in a column of plain values"),
        (4, "missing user id"),
        (5, "not a JSON object on one line"),
        (6, "empty line"),
    ]


def test_further_columns_of_json_items_may_be_nested(write: Write, check_books: Check) -> None:
    items = write("items.jsonl", '{"item_id": 1, "title": "A", "brand": "Ö", "more": {"x": ["y"]}, "n": 2.50}\n')
    data = read_table(write("r.csv", "user_id,item_id\nu,1\n"), SourceOptions(items=items))
    check_books(data)
    assert data.items.select("brand", "more", "n").row(0) == ("Ö", '{"x": ["y"]}', "2.50")


TEXT = st.text(st.characters(exclude_characters="\r\0\ufdd0", exclude_categories=["Cs"]), max_size=8)
CELL = TEXT | st.sampled_from(['"', ",", "::", "a\nb", " ", "17.0", "true", "\\u0041", "\u2028"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(CELL, CELL, CELL), max_size=8))
def test_the_format_decides_nothing(write: Write, check_books: Check, table: list[tuple[str, str, str]]) -> None:
    names = ("user_id", "item_id", "title")
    rows = [("u", "a", "A"), *table]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
    as_csv = text.getvalue()
    as_json = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    frame = io.BytesIO()
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(frame)
    sources = [
        as_csv.encode(),
        gzip.compress(as_csv.encode()),
        zipped(as_csv.encode()),
        as_json.encode(),
        frame.getvalue(),
    ]
    read = [read_table(write("r", content), PLAIN) for content in sources]
    for data in read:
        check_books(data)
        assert data.interactions.equals(read[0].interactions)
        assert data.items.equals(read[0].items)
        assert data.rejects.counts() == read[0].rejects.counts()


# Parts


def test_part_files_are_one_table(write: Write, check_books: Check) -> None:
    write("d/items.csv", ITEMS)
    write("d/ratings.csv/_SUCCESS", "")
    write("d/ratings.csv/.part-2.csv.crc", b"\0\1")
    write("d/ratings.csv/part-10.csv", "user_id,item_id,rating\nw,a,3\n")
    write("d/ratings.csv/part-2.csv.gz", gzip.compress(b"user_id,item_id,rating\r\nv,b,2\r\nbad\r\n"))
    write("d/ratings.csv/part-3.csv", "")
    folder = write("d/ratings.csv/part-1.csv", "user_id,item_id,rating\nu,a,1\n").parent
    data = read_table(folder.parent, PLAIN)
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["u", "v", "w"]
    assert [(account.name, account.lines) for account in data.accounts] == [
        ("items.csv", 3),
        ("part-1.csv", 2),
        ("part-2.csv.gz", 3),
        ("part-3.csv", 0),
        ("part-10.csv", 2),
    ]
    assert data.rejects.frame().select("source", "line").rows() == [("part-2.csv.gz", 3)]
    assert read_table(folder, SourceOptions(items=folder.parent / "items.csv")).interactions.equals(data.interactions)


def test_the_times_of_all_parts_have_one_form(write: Write) -> None:
    write("r/part-1.csv", "user_id,item_id,title,timestamp\nu,a,A,1700000000\n")
    path = write("r/part-2.csv", "user_id,item_id,title,timestamp\nu,b,B,1700000000000\n")
    with pytest.raises(DataError, match=r"line 2 of part-1\.csv.*line 2 of part-2\.csv"):
        read_table(path.parent, PLAIN)


def test_part_files_of_the_same_name_are_told_apart(write: Write) -> None:
    items = write("i/part-1.csv", ITEMS + "bad\n").parent
    ratings = write("r/part-1.csv", "user_id,item_id\nu,a\nbad\n").parent
    data = read_table(ratings, SourceOptions(items=items))
    assert [account.name for account in data.accounts] == ["part-1.csv", "r/part-1.csv"]
    assert data.rejects.frame()["source"].to_list() == ["part-1.csv", "r/part-1.csv"]


def test_parquet_parts(tmp_path: Path, check_books: Check) -> None:
    folder = tmp_path / "ratings.parquet"
    folder.mkdir()
    for number, user in enumerate("uvw"):
        part = pl.DataFrame({"user_id": [user], "item_id": [number], "title": ["T"]})
        part.write_parquet(folder / f"part-0000{number}-f00.snappy.parquet")
    data = read_table(tmp_path, PLAIN)
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["u", "v", "w"]


def test_json_parts_may_lack_keys(write: Write, check_books: Check) -> None:
    write("r/part-1.jsonl", '{"user_id": "u", "item_id": "a", "title": "A"}\n')
    path = write("r/part-2.jsonl", '{"user_id": "v", "item_id": "a", "title": "A", "rating": 2}\n')
    data = read_table(path.parent, PLAIN)
    check_books(data)
    assert data.interactions["rating"].to_list() == [2.0]
    assert data.rejects.counts() == {"rating is not a number": 1}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("user_id,item_id,rating\nv,b,1\n", r"part .*part-2.*CSV with the columns user_id, item_id, rating.*part-1"),
        ("item_id,user_id,title\nb,v,B\n", r"part .*part-2.*in the same order"),
        ('{"user_id": 1}\n', r"part .*part-2.*JSON Lines with the columns"),
        ("v,b,1\n", r"part-2.*looks like data"),
    ],
)
def test_a_part_with_another_header_is_refused(write: Write, other: str, words: str) -> None:
    write("r/part-1", "user_id,item_id,title\nu,a,A\n")
    path = write("r/part-2", other)
    with pytest.raises(DataError, match=words):
        read_table(path.parent, PLAIN)


def test_parts_that_are_all_empty(write: Write) -> None:
    write("r/part-1", "")
    with pytest.raises(DataError, match="empty part files only"):
        read_table(write("r/part-2", "").parent, PLAIN)


# Headers


def test_a_file_without_header(write: Write, check_books: Check) -> None:
    items = write("movies.dat", "1::Toy Story (1995)::Animation|Children's\n2::Seven: the film::Thriller\n")
    path = write("ratings.dat", "1::1::5::978300760\n1::2::3::978302109\n2::2::x::978302109\n")
    options = SourceOptions(
        header="user_id,item_id,rating,timestamp",
        item_header="item_id,title,genres",
        items=items,  # type: ignore[arg-type]
    )
    data = read_table(path, options)
    check_books(data)
    assert data.interactions["rating"].to_list() == [5.0, 3.0]
    assert data.items["title"].to_list() == ["Toy Story (1995)", "Seven: the film"]
    assert data.items["genres"].to_list() == [["Animation", "Children's"], ["Thriller"]]
    assert data.accounts[1] == FileAccount(str(path), 3, 2, 1)
    assert data.rejects.frame().select("line", "text").rows() == [(3, "2::2::x::978302109")]


def test_names_of_a_header_are_mapped_and_blank_ones_are_not_used(write: Write, check_books: Check) -> None:
    path = write("r.csv", "u,skip,a,A\nv,skip,b,B\n")
    header = ("who", "", "item_id", "title")
    data = read_table(path, SourceOptions(header=header, columns={"user_id": "who"}))
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["u", "v"]


@pytest.mark.parametrize(
    "first", ["1,1193,5,978300760", "u1,i2,4.5,2024-05-01 10:00", "17;18;-1;x", "1::1193::5::9", "1\t2\t3\t4"]
)
@pytest.mark.parametrize("columns", [{}, {"user_id": "1", "item_id": "2", "rating": "3"}])
def test_a_first_line_of_data_is_no_header(write: Write, first: str, columns: dict[str, str]) -> None:
    path = write("r.csv", f"{first}\n{first}\n")
    with pytest.raises(DataError, match=r"looks like data.*its 4 columns: --header user_id,item_id,rating,timestamp$"):
        read_table(path, SourceOptions(columns=columns))
    with pytest.raises(DataError, match="looks like data"):
        read_table(write("r.csv", "1,,3\n"), SourceOptions(columns={"liked": ""}))
    items = write("items.csv", "17,Alpha\n")
    with pytest.raises(DataError, match=r"its 2 columns: --item-header item_id,title$"):
        read_table(write("r.csv", "user_id,item_id\nu,17\n"), SourceOptions(items=items))


def test_a_torn_first_line_of_a_file_without_header_is_a_rejected_row(write: Write, check_books: Check) -> None:
    data = read_table(write("r.csv", '"u,a,A\nv,a,A\n'), SourceOptions(header=("user_id", "item_id", "title")))
    check_books(data)
    assert data.rejects.frame().select("line", "reason").rows() == [(1, "quoted field without an end")]


def test_numbers_may_be_names(write: Write, check_books: Check) -> None:
    items = write("items.csv", "item_id,title,2019,2020\na,Alpha,1,2\n")
    path = write("r.csv", "0,1,2\nu,a,3\n")
    data = read_table(path, SourceOptions(items=items, columns={"user_id": "0", "item_id": "1", "rating": "2"}))
    check_books(data)
    assert data.items["2020"].to_list() == ["2"]
    assert data.interactions["rating"].to_list() == [3.0]


def test_a_first_line_of_words_is_told_about_the_option(write: Write) -> None:
    with pytest.raises(
        DataError, match=r"found the columns u, a.*no header\? Name the columns: --header user_id,item_id$"
    ):
        read_table(write("r.csv", "u,a\nv,b\n"), PLAIN)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("user_id,item_id", r"--header user_id,item_id; found 3 fields in the first line: .*; expected 2 fields"),
        ("user_id,item_id,title", r"first line that is a header.*Leave --header out; --columns maps"),
    ],
)
def test_a_header_that_does_not_fit(write: Write, header: str, words: str) -> None:
    path = write("r.csv", "USER_ID,what,name\nu,a,A\n")
    with pytest.raises(DataError, match=words):
        read_table(path, SourceOptions(header=header))  # type: ignore[arg-type]


@pytest.mark.parametrize("header", ["", ",", "a,a", ()])
def test_a_header_is_different_names(header: str) -> None:
    with pytest.raises(ValueError, match="a header is different names"):
        SourceOptions(header=header)  # type: ignore[arg-type]


# Separators and hints


@pytest.mark.parametrize("separator", ["::", "||", "ab", "\\t", " | ", "§"])
def test_separators_of_any_length(write: Write, check_books: Check, separator: str) -> None:
    mark = separator.replace("\\t", "\t")
    text = 'user_id,item_id,title,rating\nu,x,"A, ""q""",1\nu,y,"two\nlines",2\nv,x,3\n'
    path = write("r.csv", text.replace(", ", "\0").replace(",", mark).replace("\0", mark))
    data = read_table(path, SourceOptions(separator=separator))
    check_books(data)
    assert data.items["title"].to_list() == [f'A{mark}"q"', "two\nlines"]
    assert data.rejects.frame().select("line", "text").rows() == [(5, f"v{mark}x{mark}3")]


def test_the_stand_in_of_a_separator_is_no_text(write: Write, check_books: Check) -> None:
    path = write("r.csv", "user_id::item_id::title\nu::a::A\nv\ufdd0a::A\nw::\ufdd0::A\n")
    data = read_table(path, PLAIN)
    check_books(data)
    assert data.interactions["user_id"].to_list() == ["u"]
    assert data.rejects.counts() == {"unreadable bytes": 2}


def test_options_and_hints_are_those_of_the_format(tmp_path: Path, write: Write) -> None:
    parquet = tmp_path / "r.parquet"
    pl.DataFrame({"user": ["u"]}).write_parquet(parquet)
    lines = write("r.jsonl", '{"user": "u"}\n')
    for path, form in ((parquet, "Parquet"), (lines, "JSON Lines")):
        with pytest.raises(DataError, match=r"--columns user_id=NAME$"):
            read_table(path, PLAIN)
        for options, flag in (({"separator": ";"}, "--separator"), ({"header": ("a",)}, "--header")):
            with pytest.raises(ConfigError, match=rf"option {flag} for {path}; found {form}; expected CSV"):
                read_table(path, SourceOptions(**options))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--encoding"):
        read_table(parquet, SourceOptions(encoding="utf-8"))


def test_nothing_is_left_where_reading_fails(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    path = write("r.gz", gzip.compress(b"what\nx\n"))
    with pytest.raises(DataError, match=rf"column 'user_id' of {path}"):
        read_table(path, PLAIN)
    assert list((tmp_path / "scratch").iterdir()) == []
