"""MovieTweetings: ``ratings.dat`` and ``movies.dat``. Ratings of 0 to 10 that people posted on Twitter.

Titles are kept as they are written, year in brackets included. A rating of 0 is a rating.
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
from recalign.data.reader import Defaults, RatingsReader
from recalign.data.readers.movielens import DAT_MOVIE, DAT_RATING
from recalign.data.source import SourceData, SourceOptions

LICENCE: Final = (
    "MovieTweetings: MIT License, (c) 2013 Simon Dooms. Cite Dooms, De Pessemier and Martens, MovieTweetings: "
    "a Movie Rating Dataset Collected From Twitter, CrowdRec at RecSys 2013"
)


def read_movietweetings(path: Path, options: SourceOptions) -> SourceData:
    """Read a snapshot: `path` is the folder, or ``ratings.dat`` with ``movies.dat`` beside it. UTF-8."""
    ratings_path = find_one(path, ["ratings.dat", "*/ratings.dat"], "ratings file ratings.dat")
    items_path = options.items_file or beside(ratings_path, ["movies.dat"], "movies file movies.dat")
    builder = SourceBuilder()
    tally = builder.file(items_path)
    for rows in pattern_rows(tally, DAT_MOVIE):
        named = pl.col("genres").str.strip_chars() != ""
        genres = pl.when(named).then(pl.col("genres").str.split("|")).otherwise([]).alias("genres")
        shaped = rows.with_columns(fields.identifier("item_id"), fields.title_year().alias("year"), genres)
        builder.add_items(sift(shaped, fields.item_checks(), tally), tally)
    tally = builder.file(ratings_path)
    for rows in pattern_rows(tally, DAT_RATING):
        builder.add_ratings(sift_ratings(rows, fields.rating_checks(0, 10, 1), tally), tally)
    return builder.build(LICENCE)


# Above 7 of 10, as above 3.5 of 5 stars.
PLUGIN: Final = RatingsReader(licence=LICENCE, defaults=Defaults("movie", 7), read=read_movietweetings)
