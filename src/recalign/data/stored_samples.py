"""`StoredSamples`: the two files of a prepared directory (`recalign.data.sample_table`), read when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import polars as pl

from recalign.data.event_range import EventLog, EventRange
from recalign.data.sample_table import (
    EVENTS_FILE,
    SAMPLES_FILE,
    SPLIT,
    VERSION_KEY,
    SampleTable,
    check_columns,
    with_histories,
)
from recalign.data.schema import EVENTS, SAMPLES_FORMAT, SPLITS, STORED_SAMPLES
from recalign.errors import ArtifactError, DataError

_RANGE: Final = ("history_end", "history_length", "past_length")


class StoredSamples:
    """Both files of a prepared directory, read when asked. Nothing is kept but the events that a past was read from."""

    def __init__(self, directory: Path) -> None:
        """Look at the files' headers.

        Raises:
            DataError: a file is no Parquet file, or has other columns than `schema.STORED_SAMPLES` or `schema.EVENTS`.
            ArtifactError: the samples are in the form of another version of recalign.
        """
        self._samples, self._events = directory / SAMPLES_FILE, directory / EVENTS_FILE
        version = _read(self._samples, pl.read_parquet_metadata).get(VERSION_KEY, "1")
        if version != str(SAMPLES_FORMAT):
            raise ArtifactError(
                f"the samples in {directory}",
                found=f"format version {version}",
                expected=str(SAMPLES_FORMAT),
                hint="They were written by another version of recalign; make them again with `recalign prepare`.",
            )
        for path, columns in ((self._samples, STORED_SAMPLES), (self._events, EVENTS)):
            check_columns(_read(path, pl.read_parquet_schema), columns, path.stem)
        self._log = EventLog(lambda: _read(self._events, pl.read_parquet))

    def frame(self, split: str | None = None) -> pl.DataFrame:
        """The samples of one split, or all, with whole histories (columns of `schema.SAMPLES`)."""
        wanted = pl.lit(True) if split is None else pl.col("split") == split
        part = _read(self._samples, lambda path: pl.scan_parquet(path).filter(wanted).collect())
        return with_histories(part, _read(self._events, pl.read_parquet))

    def earlier(self, split: str | None = None) -> dict[str, EventRange]:
        """By sample id what came before the history, for the samples of one split, or all; no event is read here.

        Raises:
            DataError: a past is shorter than its history, or lies outside of the events.
        """
        wanted = pl.lit(True) if split is None else pl.col("split") == split
        part = pl.scan_parquet(self._samples).filter(wanted).select("sample_id", *_RANGE).collect()
        end, length, past = (part[name].to_numpy() for name in _RANGE)
        start, stop = end - past, end - length
        if len(part) and (start.min() < 0 or (start > stop).any()):
            raise DataError("samples, past", found="a range that is not one", expected="the history and what is before")
        ranges = zip(part["sample_id"], start.tolist(), stop.tolist(), strict=True)
        return {sample_id: EventRange(self._log, first, last) for sample_id, first, last in ranges}

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
