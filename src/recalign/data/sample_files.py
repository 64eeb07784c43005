"""`samples.parquet` and `events.parquet`: a `SampleTable` on disk, written and read in pieces.

Both are written in groups of rows, so what is in memory as codes becomes text a million rows at a time, and reading one
split opens the groups of that split alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from recalign.data.codes import codes, names
from recalign.data.sample_ids import hexadecimal
from recalign.data.sample_table import SPLIT, SampleTable, with_histories
from recalign.data.schema import EVENTS, SAMPLES, SAMPLES_FORMAT, SPLITS, STORED_SAMPLES
from recalign.errors import ArtifactError, DataError

SAMPLES_FILE: Final = "samples.parquet"
EVENTS_FILE: Final = "events.parquet"
GROUP_ROWS: Final = 1_000_000

_VERSION_KEY: Final = "recalign.format_version"
# Ends of ranges grow by one from row to row in most protocols; ids are random, so neither has use for a dictionary.
_PLAIN: Final = {"sample_id": "PLAIN", "history_end": "DELTA_BINARY_PACKED"}


def write_samples(directory: Path, samples: SampleTable | pl.DataFrame) -> None:
    """Write both files into a directory. Samples may be rows with whole histories (columns of `schema.SAMPLES`)."""
    table = samples if isinstance(samples, SampleTable) else SampleTable.from_frame(samples)
    _write(directory / SAMPLES_FILE, table.samples, STORED_SAMPLES)
    _write(directory / EVENTS_FILE, table.events, EVENTS)


def _write(path: Path, frame: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> None:
    schema = pa.schema([(name, _arrow_type(frame.schema[name], kind)) for name, kind in columns.items()])
    encodings = {name: kind for name, kind in _PLAIN.items() if name in columns}
    with parquet.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[name for name in columns if name not in encodings],
        column_encoding=encodings,
        store_schema=False,
    ) as writer:
        writer.add_key_value_metadata({_VERSION_KEY: str(SAMPLES_FORMAT)})
        for start in range(0, max(1, len(frame)), GROUP_ROWS):
            group = frame[start : start + GROUP_ROWS]
            arrays = [_arrow(group[name]) for name in columns]
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=GROUP_ROWS)


def _arrow_type(held: pl.DataType, written: pl.DataType) -> Any:
    text = pl.Series(dtype=written).to_arrow().type
    return pa.dictionary(pa.int32(), text) if isinstance(held, pl.Enum) else text


def _arrow(column: pl.Series) -> Any:
    """A column as Arrow, ids and splits as text."""
    if isinstance(column.dtype, pl.Enum):
        # With the names that occur in these rows alone, for the dictionary is written with each group.
        every, held = names(column), codes(column)
        occurring = np.zeros(len(every), dtype=bool)
        occurring[held] = True
        places = np.cumsum(occurring, dtype=np.int32) - np.int32(1)
        texts = every.filter(pl.Series(occurring)).to_arrow()
        return pa.DictionaryArray.from_arrays(pa.array(places[held]), texts)
    if column.name == "sample_id" and column.dtype == pl.UInt64:
        column = hexadecimal(column)
    return column.rechunk().to_arrow()


class StoredSamples:
    """Both files of a prepared directory, read when asked. Nothing is kept."""

    def __init__(self, directory: Path) -> None:
        """Look at the files' headers.

        Raises:
            DataError: a file is no Parquet file, or has other columns than `schema.STORED_SAMPLES` or `schema.EVENTS`.
            ArtifactError: the samples are in the form of another version of recalign.
        """
        self._samples, self._events = directory / SAMPLES_FILE, directory / EVENTS_FILE
        version = _read(self._samples, pl.read_parquet_metadata).get(_VERSION_KEY, "1")
        if version != str(SAMPLES_FORMAT):
            raise ArtifactError(
                f"the samples in {directory}",
                found=f"format version {version}",
                expected=str(SAMPLES_FORMAT),
                hint="They were written by another version of recalign; make them again with `recalign prepare`.",
            )
        for path, columns in ((self._samples, STORED_SAMPLES), (self._events, EVENTS)):
            check_columns(_read(path, pl.read_parquet_schema), columns, path.stem)

    def frame(self, split: str | None = None) -> pl.DataFrame:
        """The samples of one split, or all, with whole histories (columns of `schema.SAMPLES`)."""
        wanted = pl.lit(True) if split is None else pl.col("split") == split
        part = _read(self._samples, lambda path: pl.scan_parquet(path).filter(wanted).collect())
        return with_histories(part, _read(self._events, pl.read_parquet))

    def counts(self) -> dict[str, int]:
        """How many samples each split has."""
        sizes = pl.scan_parquet(self._samples).group_by("split").len().collect()
        return dict.fromkeys(SPLITS, 0) | dict(sizes.iter_rows())

    def table(self) -> SampleTable:
        """All samples, compact. Where there are many, this takes a small part of the memory of `frame`."""
        ids = [
            pl.col(name).cast(pl.Categorical(pl.Categories.random("ids", pl.UInt32))) for name in ("user_id", "item_id")
        ]
        samples = pl.scan_parquet(self._samples).with_columns(*ids, pl.col("split").cast(SPLIT))
        return SampleTable.coded(samples.collect(), pl.scan_parquet(self._events).with_columns(ids).collect())


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"cannot read {path}", found=str(error), expected="a Parquet file of samples") from error


def check_columns(schema: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType], what: str) -> None:
    """Refuse other columns, types or orders: raises DataError."""
    if list(schema.items()) != list(expected.items()):
        odd = [name for name in {**expected, **schema} if schema.get(name) != expected.get(name)]
        raise DataError(what, found=f"unexpected columns or types: {', '.join(odd) or 'another order'}")


def check_samples(frame: pl.DataFrame) -> None:
    """Check rows with whole histories. Raises DataError for the first rule that is broken."""
    check_columns(frame.schema, SAMPLES, "samples")
    if splits := sorted(set(frame["split"].unique()) - set(SPLITS), key=str):
        raise DataError("samples, column 'split'", found=repr(splits[0]), expected=" or ".join(SPLITS))
    if not frame["label"].is_in([0, 1]).fill_null(False).all():
        raise DataError("samples, column 'label'", found="other values", expected="0 or 1")
    if frame["sample_id"].null_count() or frame["sample_id"].n_unique() != len(frame):
        raise DataError("samples, column 'sample_id'", found="empty or repeated values", expected="unique ids")
