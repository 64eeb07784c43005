"""Netflix Prize: ``combined_data_*.txt`` and ``mv_*.txt`` (with ``movie:`` headers), flat ``movie,user,rating`` files.

A rating row above the first header belongs to no movie, and one below a damaged header to an unknown one: both are
rejected, never given to the movie before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import FileTally, sift
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.files import beside, find_all
from recalign.data.parsing.lines import line_blocks, read_head
from recalign.data.parsing.records import match_lines, pattern_rows, split_fields
from recalign.data.reader import Defaults, RatingsReader
from recalign.data.source import SourceData, SourceOptions

LICENCE: Final = (
    "Netflix Prize: research use only, no redistribution; Netflix has withdrawn the data, so you bring your own copy"
)
ORPHAN: Final = "rating without a movie: line above"
BAD_HEADER: Final = "damaged movie: line"

_RATINGS_FILES: Final = (
    "combined_data_*.txt",
    "mv_*.txt",
    "training_set/mv_*.txt",
    "*ratings*.txt",
    "*ratings*.csv",
    "*/combined_data_*.txt",
)
# The .txt first: .csv copies in the wild passed through a spreadsheet, which made dates of titles such as "9/11".
_TITLES_FILES: Final = ("*movie_titles*.txt", "*movie_titles*.csv")
_HEADER: Final = r"^\s*\d+\s*:\s*$"
_USER_ROW: Final = r"(?P<user_id>[^,:]*),(?P<rating>[^,:]*)(?:,(?P<timestamp>[^,:]*))?"
_FLAT_ROW: Final = r"(?P<item_id>[^,:]*),(?P<user_id>[^,:]*),(?P<rating>[^,:]*)(?:,(?P<timestamp>[^,:]*))?"
_TITLE_ROW: Final = r"(?P<item_id>\s*\d+\s*),(?P<year>[^,]*),(?P<title>.*)"


def read_netflix(path: Path, options: SourceOptions) -> SourceData:
    """Read a folder of rating files and their titles, or one rating file with the titles beside it.

    Dates become midnight UTC; flat files mostly have none. Titles may contain commas, unquoted as in the original
    ``movie_titles.txt`` or spread over padded fields (``3,1997,Character,,,``). Year ``NULL`` is no year.
    """
    found = find_all(path, _RATINGS_FILES, "Netflix rating files")
    paths = [file for file in found if "movie_titles" not in file.name.lower()]
    builder = SourceBuilder()
    # The original archive has the ratings one folder below the titles.
    above = paths[0].resolve().parent.name == "training_set"
    titles = builder.file(options.items_file or beside(paths[0], _TITLES_FILES, "movie titles", above=above))
    for rows in _titles(titles):
        shaped = rows.with_columns(fields.identifier("item_id"), fields.number("year").cast(pl.Int32))
        bad_year = pl.col("year").is_null() & (pl.col("year_text") != "NULL")
        checks = [fields.title_check(), (bad_year, "year is neither a year nor NULL")]
        builder.add_items(sift(shaped, checks, titles).drop("year_text"), titles)
    for file in paths:
        tally = builder.file(file)
        for rows in _under_headers(tally) if _has_headers(file) else pattern_rows(tally, _FLAT_ROW):
            _add_ratings(builder, rows, tally)
    return builder.build(LICENCE)


def _has_headers(path: Path) -> bool:
    is_original = path.name.lower().startswith(("combined_data_", "mv_"))
    return is_original or any(re.match(_HEADER, line) for line in read_head(path))


def _under_headers(tally: FileTally) -> Iterator[pl.DataFrame]:
    """Rating rows with the movie of the header above them; headers are counted, damaged ones and orphans rejected."""
    movie: str | None = None
    for block in line_blocks(tally):
        text = pl.col("text")
        is_header = pl.col("readable") & text.str.contains(_HEADER)
        is_damaged = ~is_header & text.str.contains(r"^[^,]*:\s*$")
        # "" stands for "below a damaged header": it stops the movie above from reaching the rows below.
        begins = pl.when(is_header).then(text.str.extract(r"(\d+)")).when(is_damaged).then(pl.lit("")).alias("begins")
        item = pl.col("begins").forward_fill().fill_null(pl.lit(movie, pl.String)).alias("item_id")
        marked = block.with_columns(begins, pl.lit(1, dtype=pl.Int64).alias("lines")).with_columns(item)
        movie = marked["item_id"][-1]
        tally.count_header(len(marked.filter(pl.col("begins") != "")))
        damaged = marked.filter(pl.col("begins") == "")
        tally.reject(damaged.with_columns(pl.lit(BAD_HEADER).alias("reason")))
        rows = marked.filter(pl.col("begins").is_null()).drop("begins")
        matched = match_lines(rows, tally, _USER_ROW)
        orphaned = pl.col("item_id").fill_null("") == ""
        tally.reject(matched.filter(orphaned).with_columns(pl.lit(ORPHAN).alias("reason")))
        yield matched.filter(~orphaned)


def _add_ratings(builder: SourceBuilder, rows: pl.DataFrame, tally: FileTally) -> None:
    typed = rows.with_columns(
        fields.identifier("user_id"),
        fields.identifier("item_id"),
        fields.number("rating"),
        pl.col("timestamp").alias("date"),
        fields.date("timestamp"),
    )
    bad_date = pl.col("date").is_not_null() & pl.col("timestamp").is_null()
    checks = [*fields.id_checks(), *fields.rating_checks(1, 5, 1), (bad_date, "date is not YYYY-MM-DD")]
    builder.add_ratings(sift(typed, checks, tally), tally)


def _titles(tally: FileTally) -> Iterator[pl.DataFrame]:
    # Whether most rows were filled up with empty fields to equal length (a spreadsheet's export).
    head = [line for line in read_head(tally.path, "latin-1") if line.strip()]
    padded = sum(line.endswith(",") for line in head) * 2 > len(head)
    for rows in pattern_rows(tally, _TITLE_ROW, encoding="latin-1"):
        if padded:
            joined = [_unpad(title) for title in rows["title"].to_list()]
            rows = rows.with_columns(pl.Series("title", joined, dtype=pl.String()))
        yield rows.with_columns(pl.col("year").str.strip_chars().alias("year_text"))


def _unpad(title: str) -> str:
    """A title back from the fields over which its commas spread it."""
    parts = split_fields(title, ",")
    return (title if parts is None else ",".join(parts)).rstrip(",")


PLUGIN: Final = RatingsReader(licence=LICENCE, defaults=Defaults("movie", 3, "{title}[ ({year})]"), read=read_netflix)
