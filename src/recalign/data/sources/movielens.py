"""MovieLens: 100K (``u.data``, ``u.item``), 1M and 10M (``.dat``), latest, latest-small, 20M … (``.csv``).

Titles are kept as they are written, year in brackets included: the published TALLRec prompts contain them so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.sources import fields
from recalign.data.sources.accounting import FileTally, sift
from recalign.data.sources.assembly import NO_TITLE, SourceBuilder
from recalign.data.sources.base import SourceData, SourceOptions
from recalign.data.sources.files import beside, find_one
from recalign.data.sources.lines import is_utf8
from recalign.data.sources.records import delimited_rows, named_layout, pattern_rows

LICENCE: Final = (
    "MovieLens (GroupLens, University of Minnesota): research use with acknowledgement; no redistribution, no "
    "commercial use without permission. Cite Harper and Konstan, 2015, doi:10.1145/2827872"
)

# The order of the 19 flags at the end of a line of u.item (u.genre).
GENRES_100K: Final = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_NO_GENRES: Final = "(no genres listed)"
_U_DATA: Final = r"(?P<user_id>[^\t]*)\t(?P<item_id>[^\t]*)\t(?P<rating>[^\t]*)\t(?P<timestamp>[^\t]*)"
_U_ITEM: Final = (
    r"(?P<item_id>[^|]*)\|(?P<title>[^|]*)\|(?P<released>[^|]*)\|[^|]*\|[^|]*\|(?P<flags>[01](?:\|[01]){18})"
)
_DAT_RATING: Final = r"(?P<user_id>[^:]*)::(?P<item_id>[^:]*)::(?P<rating>[^:]*)::(?P<timestamp>[^:]*)"
_DAT_MOVIE: Final = r"(?P<item_id>[^:]*)::(?P<title>.*)::(?P<genres>[^:]*)"
_RATING_NAMES: Final = {"user_id": "userId", "item_id": "movieId", "rating": "rating", "timestamp": "timestamp"}
_MOVIE_NAMES: Final = {"item_id": "movieId", "title": "title", "genres": "genres"}


def read_movielens_100k(path: Path, options: SourceOptions) -> SourceData:
    """Read MovieLens-100K: `path` is the folder, or ``u.data`` with ``u.item`` beside it.

    Latin-1. Genres come from the 19 flags, the year from the title or else from the release date.

    Raises:
        DataError: a file is missing, empty, of another format, or no rating is usable.
    """
    builder = SourceBuilder()
    ratings_path = find_one(path, ["u.data", "*/u.data"], "ratings file u.data")
    items_path = options.items or beside(ratings_path, ["u.item"], "items file u.item")
    tally = builder.file(items_path)
    for rows in pattern_rows(tally, _U_ITEM, encoding="latin-1"):
        flags = pl.col("flags").str.split("|")
        chosen = pl.concat_list(
            [pl.when(flags.list.get(place) == "1").then(pl.lit(name)) for place, name in enumerate(GENRES_100K)]
        )
        year = pl.coalesce(fields.title_year(), fields.year_in(pl.col("released")))
        shaped = rows.with_columns(
            fields.identifier("item_id"), chosen.list.drop_nulls().alias("genres"), year.alias("year")
        )
        builder.add_items(sift(shaped.drop("flags", "released"), _item_checks(), tally), tally)
    tally = builder.file(ratings_path)
    for rows in pattern_rows(tally, _U_DATA, encoding="latin-1"):
        _add_ratings(builder, rows, tally, fields.RatingScale(1, 5, 1))
    return builder.build(LICENCE)


def read_movielens(path: Path, options: SourceOptions) -> SourceData:
    """Read ``ratings.csv`` and ``movies.csv`` (latest, 20M …), or ``ratings.dat`` and ``movies.dat`` (1M, 10M).

    `path` is the folder, or the ratings file with the movies file beside it. Half stars are kept. ``.dat`` files are
    read as UTF-8 where they are (10M), else as latin-1 (1M).

    Raises:
        DataError: a file is missing, empty, of another format, or no rating is usable.
    """
    ratings_path = find_one(path, ["ratings.csv", "ratings.dat", "*/ratings.csv", "*/ratings.dat"], "ratings file")
    is_dat = ratings_path.suffix.lower() == ".dat"
    items_path = options.items or beside(ratings_path, ["movies.dat" if is_dat else "movies.csv"], "movies file")
    builder = SourceBuilder()
    tally = builder.file(items_path)
    if is_dat:
        movies = pattern_rows(tally, _DAT_MOVIE, encoding="utf-8" if is_utf8(items_path) else "latin-1")
    else:
        movies = delimited_rows(tally, ",", named_layout(_MOVIE_NAMES, items_path))
    for rows in movies:
        listed = (
            pl.when(pl.col("genres").str.strip_chars().is_in(["", _NO_GENRES])).then(pl.lit(None)).otherwise("genres")
        )
        genres = listed.str.split("|").fill_null([])
        shaped = rows.with_columns(
            fields.identifier("item_id"), fields.title_year().alias("year"), genres.alias("genres")
        )
        builder.add_items(sift(shaped, _item_checks(), tally), tally)
    tally = builder.file(ratings_path)
    if is_dat:
        ratings = pattern_rows(tally, _DAT_RATING)
    else:
        ratings = delimited_rows(tally, ",", named_layout(_RATING_NAMES, ratings_path))
    for rows in ratings:
        _add_ratings(builder, rows, tally, fields.RatingScale(0.5, 5, 0.5))
    return builder.build(LICENCE)


def _item_checks() -> list[tuple[pl.Expr, str]]:
    return [(pl.col("item_id").is_null(), fields.NO_ITEM), (pl.col("title").str.strip_chars() == "", NO_TITLE)]


def _add_ratings(builder: SourceBuilder, rows: pl.DataFrame, tally: FileTally, scale: fields.RatingScale) -> None:
    typed = rows.with_columns(
        fields.identifier("user_id"),
        fields.identifier("item_id"),
        fields.number("rating"),
        fields.seconds("timestamp", "seconds"),
    )
    checks = [*fields.id_checks(), *scale.checks(), *fields.time_checks()]
    builder.add_ratings(sift(typed, checks, tally), tally)
