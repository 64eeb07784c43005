"""Prepared data as RecBole's atomic files: ``NAME.train.inter`` and so on, ``NAME.item``, and ``recbole.yaml``.

Fields are separated by tabs, parts of a list by blanks, and the first line names fields and their types. RecBole reads
them with pandas, so quotes are written as CSV has them. `recbole.yaml` says which fields there are and which file is
which split; it belongs to the directory NAME, whatever folder that lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from recalign.data.samples import SampleSet
from recalign.data.schema import SECOND, SPLITS
from recalign.errors import DataError

RECBOLE: Final = "recbole"
_CONFIG_FILE: Final = "recbole.yaml"
# What pandas and RecBole take for no value; an id of these would be lost.
_MISSING: Final = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null", "[PAD]"),
)


def write_recbole(samples: SampleSet, directory: Path, *, name: str) -> dict[str, int]:
    """Write the files of the dataset `name`; returns the rows of each split.

    Raises:
        DataError: A split has no samples, or an id cannot stand in such a file.
    """
    parts = {split: samples.frame(split) for split in SPLITS}
    for split, part in parts.items():
        if part.is_empty():
            expected = "at least one: RecBole wants train, valid and test"
            raise DataError(f"split {split!r} of {samples.path}", found="no samples", expected=expected)
    items = samples.catalog.frame
    _check_ids("item", items["item_id"], blanks=False)
    for part in parts.values():
        _check_ids("user", part["user_id"], blanks=True)
    # A column that has gaps in one split would be filled by RecBole with what nobody gave.
    whole = [
        column for column in ("rating", "timestamp") if not any(part[column].null_count() for part in parts.values())
    ]
    tables = {split: _interactions(part, whole) for split, part in parts.items()}
    for split, table in tables.items():
        _write(table, directory / f"{name}.{split}.inter")
    described = _items(items)
    _write(described, directory / f"{name}.item")
    longest = max(int(part["history"].list.len().max() or 1) for part in parts.values())  # type: ignore[arg-type]
    config = _config(tables[SPLITS[0]].columns, described.columns, longest)
    (directory / _CONFIG_FILE).write_text(config, encoding="utf-8")
    return {split: len(part) for split, part in parts.items()}


def _check_ids(what: str, ids: pl.Series, *, blanks: bool) -> None:
    odd = ids.filter(ids.is_in(_MISSING) | (ids.str.contains(" ") & (not blanks)))
    if len(odd):
        raise DataError(
            f"{what} id {odd[0]!r}",
            expected="ids without blanks" if " " in odd[0] else "an id that RecBole does not take for a missing one",
            hint="Prepare the data with other ids; RecBole's files have no way to write this one.",
        )


def _interactions(part: pl.DataFrame, whole: Sequence[str]) -> pl.DataFrame:
    """One row per sample; the history is `item_id_list`, oldest first, with its labels beside it."""
    entries = pl.element().struct
    numbers = {"rating": pl.col("rating"), "timestamp": pl.col("timestamp") / SECOND}
    return part.select(
        pl.col("user_id").alias("user_id:token"),
        pl.col("history").list.eval(entries.field("item_id")).list.join(" ").alias("item_id_list:token_seq"),
        pl.col("history")
        .list.eval(entries.field("liked").cast(pl.Int8).cast(pl.String))
        .list.join(" ")
        .alias("label_list:float_seq"),
        pl.col("item_id").alias("item_id:token"),
        pl.col("label").alias("label:float"),
        *(numbers[name].alias(f"{name}:float") for name in whole),
    )


def _items(items: pl.DataFrame) -> pl.DataFrame:
    """Words of the title, and what else is known; a genre of several words is one token."""
    known = [name for name in ("year", "author", "genres") if items[name].drop_nulls().len()]
    columns = {
        "year": pl.col("year").cast(pl.String).alias("year:token"),
        "author": _words("author"),
        "genres": pl.col("genres")
        .list.eval(pl.element().str.replace_all(r"\s+", "_"))
        .list.join(" ")
        .alias("genres:token_seq"),
    }
    return items.select(pl.col("item_id").alias("item_id:token"), _words("title"), *(columns[name] for name in known))


def _words(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all(r"\s+", " ").alias(f"{column}:token_seq")


def _write(table: pl.DataFrame, path: Path) -> None:
    table.write_csv(path, separator="\t", quote_style="necessary")


def _config(interactions: Sequence[str], items: Sequence[str], longest: int) -> str:
    inter, item = ([column.partition(":")[0] for column in columns] for columns in (interactions, items))
    # A model of features would read the label from the rating, so that is in the files and not loaded.
    loaded = {"inter": [name for name in inter if name != "rating"], "item": item}
    rating = ["RATING_FIELD: rating"] if "rating" in inter else []
    time = ["TIME_FIELD: timestamp"] if "timestamp" in inter else []
    lines = [
        "# Give RecBole this file, the name of its directory as `dataset`, and the folder of that as `data_path`.",
        *("USER_ID_FIELD: user_id", "ITEM_ID_FIELD: item_id", "LABEL_FIELD: label", *rating, *time),
        f"benchmark_filename: [{', '.join(SPLITS)}]",
        "alias_of_item_id: [item_id_list]",
        f"MAX_ITEM_LIST_LENGTH: {longest}",
        "load_col:",
        *(f"  {name}: [{', '.join(fields)}]" for name, fields in loaded.items()),
    ]
    return "\n".join(lines) + "\n"
