"""MovieLens 1M and 10M (``.dat``), latest, latest-small, 20M … (``.csv``).

Titles are kept as they are written, year in brackets included: the published TALLRec prompts contain them so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.parsing import fields
from recalign.data.parsing.accounting import sift, sift_ratings
from recalign.data.parsing.assembly import SourceBuilder
from recalign.data.parsing.files import beside, find_one
from recalign.data.parsing.lines import is_utf8
from recalign.data.parsing.records import delimited_rows, named_layout, pattern_rows
from recalign.data.reader import Archive, Defaults, RatingsReader
from recalign.data.source import SourceData, SourceOptions

LICENCE: Final = (
    "MovieLens (GroupLens, University of Minnesota): research use with acknowledgement; no redistribution, no "
    "commercial use without permission. Cite Harper and Konstan, 2015, doi:10.1145/2827872"
)
GROUPLENS: Final = "https://files.grouplens.org/datasets/movielens"
_NO_GENRES: Final = "(no genres listed)"
DAT_RATING: Final = r"(?P<user_id>[^:]*)::(?P<item_id>[^:]*)::(?P<rating>[^:]*)::(?P<timestamp>[^:]*)"
DAT_MOVIE: Final = r"(?P<item_id>[^:]*)::(?P<title>.*)::(?P<genres>[^:]*)"
_RATING_NAMES: Final = {"user_id": "userId", "item_id": "movieId", "rating": "rating", "timestamp": "timestamp"}
_MOVIE_NAMES: Final = {"item_id": "movieId", "title": "title", "genres": "genres"}


def read_movielens(path: Path, options: SourceOptions) -> SourceData:
    """Read ``ratings.csv`` and ``movies.csv`` (latest, 20M …), or ``ratings.dat`` and ``movies.dat`` (1M, 10M).

    `path` is the folder, or the ratings file with the movies file beside it. Half stars are kept. ``.dat`` files are
    read as UTF-8 where they are (10M), else as latin-1 (1M).
    """
    ratings_path = find_one(path, ["ratings.csv", "ratings.dat", "*/ratings.csv", "*/ratings.dat"], "ratings file")
    is_dat = ratings_path.suffix.lower() == ".dat"
    items_path = options.items_file or beside(ratings_path, ["movies.dat" if is_dat else "movies.csv"], "movies file")
    builder = SourceBuilder()
    tally = builder.file(items_path)
    if is_dat:
        movies = pattern_rows(tally, DAT_MOVIE, encoding="utf-8" if is_utf8(items_path) else "latin-1")
    else:
        movies = delimited_rows(tally, ",", named_layout(_MOVIE_NAMES, items_path))
    for rows in movies:
        has_genres = ~pl.col("genres").str.strip_chars().is_in(["", _NO_GENRES])
        genres = pl.when(has_genres).then(pl.col("genres").str.split("|")).otherwise([]).alias("genres")
        shaped = rows.with_columns(fields.identifier("item_id"), fields.title_year().alias("year"), genres)
        builder.add_items(sift(shaped, fields.item_checks(), tally), tally)
    tally = builder.file(ratings_path)
    if is_dat:
        ratings = pattern_rows(tally, DAT_RATING)
    else:
        ratings = delimited_rows(tally, ",", named_layout(_RATING_NAMES, ratings_path))
    for rows in ratings:
        builder.add_ratings(sift_ratings(rows, fields.rating_checks(0.5, 5, 0.5), tally), tally)
    return builder.build(LICENCE)


PLUGIN: Final = RatingsReader(
    licence=LICENCE,
    defaults=Defaults("movie", 3),
    read=read_movielens,
    archives=(
        Archive("movielens-1m", f"{GROUPLENS}/ml-1m.zip"),
        Archive("movielens-latest-small", f"{GROUPLENS}/ml-latest-small.zip"),
    ),
)
