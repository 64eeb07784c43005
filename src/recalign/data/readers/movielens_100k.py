"""MovieLens-100K: ``u.data`` and ``u.item``.

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
from recalign.data.parsing.records import pattern_rows
from recalign.data.reader import Archive, Defaults, RatingsReader
from recalign.data.readers.movielens import GROUPLENS, LICENCE
from recalign.data.source import SourceData, SourceOptions

# The order of the 19 flags at the end of a line of u.item (u.genre).
_GENRES: Final = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
GENRES_100K: Final = _GENRES.split("|")
_U_DATA: Final = r"(?P<user_id>[^\t]*)\t(?P<item_id>[^\t]*)\t(?P<rating>[^\t]*)\t(?P<timestamp>[^\t]*)"
_U_ITEM: Final = (
    r"(?P<item_id>[^|]*)\|(?P<title>[^|]*)\|(?P<released>[^|]*)\|[^|]*\|[^|]*\|(?P<flags>[01](?:\|[01]){18})"
)


def read_movielens_100k(path: Path, options: SourceOptions) -> SourceData:
    """Read MovieLens-100K: `path` is the folder, or ``u.data`` with ``u.item`` beside it.

    Latin-1. Genres come from the 19 flags, the year from the title or else from the release date.
    """
    builder = SourceBuilder()
    ratings_path = find_one(path, ["u.data", "*/u.data"], "ratings file u.data")
    items_path = options.items_file or beside(ratings_path, ["u.item"], "items file u.item")
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
        builder.add_items(sift(shaped.drop("flags", "released"), fields.item_checks(), tally), tally)
    tally = builder.file(ratings_path)
    for rows in pattern_rows(tally, _U_DATA, encoding="latin-1"):
        builder.add_ratings(sift_ratings(rows, fields.rating_checks(1, 5, 1), tally), tally)
    return builder.build(LICENCE)


PLUGIN: Final = RatingsReader(
    licence=LICENCE,
    defaults=Defaults("movie", 3),
    read=read_movielens_100k,
    archives=(Archive("movielens-100k", f"{GROUPLENS}/ml-100k.zip"),),
)
