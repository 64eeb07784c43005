"""Amazon-Books (Kaggle): ``Books_rating.csv`` with reviews, joined by title with ``books_data.csv`` for authors.

The item is the `Id`; reviews run over several lines, so an account counts the physical lines of each row.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import FileTally, sift, sift_ratings
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.files import beside, find_one
from recalign.data.parsing.records import delimited_rows, named_layout
from recalign.data.reader import BOOK_TEXT, Defaults, RatingsReader
from recalign.data.source import SourceData, SourceOptions

LICENCE: Final = (
    "Amazon-Books reviews (Kaggle copy of McAuley's data): terms unclear, research use only, no redistribution"
)
BAD_LIST: Final = "authors or categories are not a list of names"

_REVIEWS_FILES: Final = ("Books_rating.csv", "Books_rating*.csv", "*rating*.csv")
_BOOKS_FILES: Final = ("books_data.csv", "books_data*.csv")
_REVIEW_NAMES: Final = {
    "item_id": "Id",
    "title": "Title",
    "user_id": "User_id",
    "rating": "review/score",
    "timestamp": "review/time",
}
_BOOK_NAMES: Final = {
    "title": "Title",
    "authors": "authors",
    "publisher": "publisher",
    "published": "publishedDate",
    "categories": "categories",
}
_NAME: Final = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_LIST: Final = re.compile(rf"\s*\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*\s*,?)?\s*\]\s*", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r"}


def read_amazon_books(path: Path, options: SourceOptions) -> SourceData:
    """Read a folder with both files, or the reviews file with ``books_data`` beside it.

    Ratings are whole stars from 1 to 5. Reviews without a user are rejected. An item's title is that of its first
    review that has one. `author` is ``A`` or ``A, B``, `genres` the categories, `year` the four-digit year of
    publication; `publisher` is kept.
    """
    reviews_path = find_one(path, _REVIEWS_FILES, "Amazon reviews file")
    books_path = options.items_file or beside(reviews_path, _BOOKS_FILES, "books table")
    builder = SourceBuilder()
    books = _read_books(builder.file(books_path))
    tally = builder.file(reviews_path)
    titles = []
    for rows in delimited_rows(tally, ",", named_layout(_REVIEW_NAMES, reviews_path)):
        kept = sift_ratings(rows, fields.rating_checks(1, 5, 1), tally)
        builder.add_ratings(kept, tally)
        titled = kept.filter(pl.col("title").str.strip_chars() != "")
        titles.append(titled.select("item_id", "title").unique("item_id", keep="first", maintain_order=True))
    items = pl.concat(titles).unique("item_id", keep="first", maintain_order=True)
    return builder.build(LICENCE, items.join(books, on="title", how="left", maintain_order="left"))


def _read_books(tally: FileTally) -> pl.DataFrame:
    """One row per title: `title`, `year`, `author`, `genres`, `publisher`."""
    kept = []
    for rows in delimited_rows(tally, ",", named_layout(_BOOK_NAMES, tally.path)):
        shaped = rows.with_columns(
            pl.Series(column, [name_list(text) for text in rows[column].to_list()], dtype=pl.List(pl.String()))
            for column in ("authors", "categories")
        )
        no_list = pl.col("authors").is_null() | pl.col("categories").is_null()
        kept.append(sift(shaped, [fields.title_check(), (no_list, BAD_LIST)], tally))
    author = pl.when(pl.col("authors").list.len() > 0).then(pl.col("authors").list.join(", "))
    publisher = pl.col("publisher").str.strip_chars()
    # Of a title that occurs twice the first row describes it; the later ones are read but describe nothing.
    return (
        pl.concat(kept)
        .unique("title", keep="first", maintain_order=True)
        .select(
            "title",
            fields.year_in(pl.col("published")).alias("year"),
            author.alias("author"),
            pl.col("categories").alias("genres"),
            pl.when(publisher != "").then(publisher).alias("publisher"),
        )
    )


def name_list(text: str) -> list[str] | None:
    r"""Names in a Python list literal such as ``['A', "O'B"]``, without evaluating it; None where it is none.

    A blank text is an empty list. Blank names are dropped, blanks inside names become one space.
    """
    if not text.strip():
        return []
    if not _LIST.fullmatch(text):
        return None
    names = (" ".join(_ESCAPE.sub(_unescape, token[1:-1]).split()) for token in re.findall(_NAME, text, re.DOTALL))
    return [name for name in names if name]


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return _CONTROLS.get(match[4], match[4])
    number = int(code, 16)
    is_character = number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return chr(number) if is_character else "\N{REPLACEMENT CHARACTER}"


PLUGIN: Final = RatingsReader(licence=LICENCE, defaults=Defaults("book", 3, BOOK_TEXT), read=read_amazon_books)
