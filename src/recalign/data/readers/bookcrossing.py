r"""BookCrossing: ratings joined with books, in the original files and in the copies found in the wild.

The original quotes every field and escapes quotes with a backslash; copies have other separators, tripled quotes,
headers of numbers, CR line ends and hundreds of thousands of empty rows. A rating row is taken only if its quotes are
closed, so nothing is read out of a torn line. Titles stay as they are written, ``&amp;`` included: the published
TALLRec prompts contain them so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import FileTally, sift
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.files import beside, find_one
from recalign.data.parsing.lines import is_utf8, line_blocks, read_head
from recalign.data.parsing.records import Layout, delimited_rows, match_lines, split_fields
from recalign.data.reader import BOOK_TEXT, Archive, Defaults, RatingsReader
from recalign.data.source import SourceData, SourceOptions
from recalign.errors import DataError

LICENCE: Final = (
    "BookCrossing: research use with acknowledgement. Cite Ziegler et al., WWW 2005, doi:10.1145/1060745.1060754"
)
EMPTY_ROW: Final = "empty row"
SHIFTED: Final = "year is not a number (fields shifted?)"

_RATINGS_FILES: Final = (
    "BX-Book-Ratings.csv",
    "*Book-Ratings*.csv",
    "Ratings.csv",
    "*ratings*.csv",
    "*/*Book-Ratings*.csv",
)
_BOOKS_FILES: Final = ("BX-Books.csv", "BX-Books*.csv", "Books.csv", "*books*.csv")
# Name in a header (without "book-", lower case) -> our column. Where the header is numbers, the first five stand so.
_BOOK_COLUMNS: Final = {
    "isbn": "item_id",
    "title": "title",
    "author": "author",
    "year": "year",
    "publisher": "publisher",
    "year-of-publication": "year",
}


def read_bookcrossing(path: Path, options: SourceOptions) -> SourceData:
    """Read a folder with the ratings and books files, or the ratings file with the books beside it.

    Ratings are whole numbers from 0 (implicit) to 10. Ratings of books that are not in the books file are rejected,
    so that every sample has a text. Year 0 is no year. Files that are not UTF-8 are read as latin-1.
    """
    ratings_path = find_one(path, _RATINGS_FILES, "BookCrossing ratings file")
    books_path = options.items_file or beside(ratings_path, _BOOKS_FILES, "BookCrossing books file")
    builder = SourceBuilder()
    _read_books(builder, builder.file(books_path))
    _read_ratings(builder, builder.file(ratings_path))
    return builder.build(LICENCE)


def _dialect(path: Path) -> tuple[str, str]:
    """Encoding and separator."""
    encoding = "utf-8" if is_utf8(path) else "latin-1"
    return encoding, ";" if ";" in read_head(path, encoding)[0] else ","


def _read_books(builder: SourceBuilder, tally: FileTally) -> None:
    encoding, separator = _dialect(tally.path)
    for rows in delimited_rows(
        tally,
        separator,
        lambda header: _book_layout(header, tally.path),
        encoding=encoding,
        dialect=lambda layout: _unescaped(separator, layout.width),
    ):
        year = pl.col("year").str.strip_chars()
        shaped = rows.with_columns(
            fields.identifier("item_id"),
            pl.when(~pl.col("author").str.strip_chars().is_in(["", "NULL"])).then("author").alias("author"),
            year.cast(pl.Int32, strict=False).alias("number"),
        )
        kept = sift(shaped, [*fields.item_checks(), (pl.col("number").is_null(), SHIFTED)], tally)
        builder.add_items(kept.with_columns(pl.col("number").replace(0, None).alias("year")).drop("number"), tally)


def _book_layout(header: list[str], path: Path) -> Layout:
    names = [name.lower().removeprefix("book-") for name in header]
    if len(names) >= 5 and names == [str(place) for place in range(len(names))]:
        names[:5] = list(_BOOK_COLUMNS)[:5]
    places = {ours: names.index(name) for name, ours in _BOOK_COLUMNS.items() if name in names}
    if len(places) < 5:
        expected = "ISBN, Book-Title, Book-Author, Year-Of-Publication, Publisher (or the numbers 0 to 7)"
        raise DataError(f"header of {path}", found=", ".join(header)[:200], expected=expected)
    return Layout(len(names), places)


def _unescaped(separator: str, width: int) -> pl.Expr:
    r"""Backslash escapes to doubled quotes, in rows with all fields quoted as in the original: ``"a";"b \"c\"";…``."""
    text = pl.col("text")
    inner = text.str.count_matches(f'"{separator}"', literal=True)
    original = text.str.starts_with('"') & text.str.ends_with('"') & (inner == width - 1)
    # NUL cannot occur in a readable line: it holds the place of an escaped backslash.
    plain = text.str.replace_all("\\\\", "\0", literal=True).str.replace_all('\\"', '""', literal=True)
    return pl.when(original).then(plain.str.replace_all("\0", "\\", literal=True)).otherwise(text)


def _read_ratings(builder: SourceBuilder, tally: FileTally) -> None:
    encoding, separator = _dialect(tally.path)
    first = True
    for block in line_blocks(tally, encoding):
        if first and _is_header(block["text"][0], separator, tally.path):
            tally.count_header(1)
            block = block.slice(1)
        first = False
        empty = pl.col("text").str.contains(rf"^[\s{separator}]+$")
        tally.reject(block.filter(empty).with_columns(pl.lit(1).alias("lines"), pl.lit(EMPTY_ROW).alias("reason")))
        rows = match_lines(block.filter(~empty), tally, _rating_pattern(separator))
        bare = rows.with_columns(pl.col("user_id", "item_id", "rating").str.strip_chars('"\\ '))
        typed = bare.with_columns(fields.identifier("user_id"), fields.identifier("item_id"), fields.number("rating"))
        checks = [*fields.id_checks(), *fields.rating_checks(0, 10, 1)]
        builder.add_ratings(sift(typed, checks, tally), tally)


def _rating_pattern(separator: str) -> str:
    """A row of three fields, each bare, in quotes, in tripled quotes, or in quotes with escaped quotes inside."""
    bare = rf'[^"{separator}]*'
    field = rf'(?:{bare}|"{bare}"|"""{bare}"""|"\\"{bare}\\"")'
    return separator.join(f"(?P<{name}>{field})" for name in ("user_id", "item_id", "rating"))


def _is_header(line: str, separator: str, path: Path) -> bool:
    names = [name.strip().lower() for name in split_fields(line, separator) or []]
    if names == ["0", "1", "2"]:
        return True
    if "isbn" not in names:
        return False
    if len(names) == 3 and "user" in names[0] and names[1] == "isbn" and "rating" in names[2]:
        return True
    raise DataError(f"header of {path}", found=line[:200], expected=f"User-ID{separator}ISBN{separator}Book-Rating")


PLUGIN: Final = RatingsReader(
    licence=LICENCE,
    defaults=Defaults("book", 5, BOOK_TEXT, "tallrec"),
    read=read_bookcrossing,
    archives=(Archive("bookcrossing", None),),
)
