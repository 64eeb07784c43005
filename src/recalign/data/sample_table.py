"""`SampleTable`: samples whose histories are ranges in a table of events, so what ten windows share is kept once.

On disk it is `samples.parquet` and `events.parquet`. Both are written in groups of rows, so what is in memory as codes
becomes text a million rows at a time, and reading one split (`recalign.data.stored_samples`) opens its groups alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from recalign.data.codes import codes, encode, names
from recalign.data.sample_ids import hexadecimal
from recalign.data.schema import EVENTS, SAMPLES, SAMPLES_FORMAT, SPLITS, STORED_SAMPLES
from recalign.errors import DataError

SPLIT: Final = pl.Enum(SPLITS)
SAMPLES_FILE: Final = "samples.parquet"
EVENTS_FILE: Final = "events.parquet"
GROUP_ROWS: Final = 1_000_000

VERSION_KEY: Final = "recalign.format_version"
# Ends of ranges grow by one from row to row in most protocols; ids are random, so neither has use for a dictionary.
_PLAIN: Final = {"sample_id": "PLAIN", "history_end": "DELTA_BINARY_PACKED"}


@dataclass(frozen=True)
class SampleTable:
    """Samples and the events that their histories consist of.

    Attributes:
        samples: Columns of `schema.STORED_SAMPLES`, in the order of the samples. Ids are Enums that `events` shares,
            `split` is the Enum `SPLIT`, and `sample_id` may be UInt64 (`sample_ids`).
        events: Columns of `schema.EVENTS`; each user's together, from oldest to newest.
        ties: Per split the number of targets with the same time as the user's event just before or after. Empty where
            the order is not that of time, or where the samples come from a file.
    """

    samples: pl.DataFrame
    events: pl.DataFrame
    ties: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> SampleTable:
        """From rows with whole histories (`schema.SAMPLES`); every row gets events of its own, and no longer past."""
        lengths = frame["history"].list.len().cast(pl.Int32)
        entries = frame["history"].explode(empty_as_null=False).struct.unnest()
        events = entries.select(
            frame["user_id"].gather(np.repeat(np.arange(len(frame)), lengths.to_numpy())), "item_id", "liked", "rating"
        )
        ranges = frame.drop("history").with_columns(
            pl.Series("history_end", lengths.to_numpy().cumsum(dtype=np.int64), dtype=pl.Int64),
            lengths.alias("history_length"),
            lengths.alias("past_length"),
            pl.col("split").cast(SPLIT),
        )
        return cls.coded(ranges, events)

    @classmethod
    def coded(cls, samples: pl.DataFrame, events: pl.DataFrame) -> SampleTable:
        """From tables whose ids are text or Categorical."""
        for name in ("user_id", "item_id"):
            first, second = encode([samples[name], events[name]])
            samples, events = samples.with_columns(first), events.with_columns(second)
        return cls(samples.select(*STORED_SAMPLES), events.select(*EVENTS))

    def split(self, name: str) -> pl.DataFrame:
        """The rows of `samples` in one split."""
        return self.samples.filter(pl.col("split") == name)

    def frame(self, samples: pl.DataFrame | None = None) -> pl.DataFrame:
        """All samples, or these rows of `samples`, with whole histories: columns of `schema.SAMPLES`."""
        return with_histories(self.samples if samples is None else samples, self.events)

    def __len__(self) -> int:
        return len(self.samples)


def with_histories(samples: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Turn ranges into lists: columns of `schema.SAMPLES`.

    Raises:
        DataError: a range lies outside of `events`.
    """
    end, lengths = (samples[name].to_numpy() for name in ("history_end", "history_length"))
    if len(samples) and (min(lengths.min(), (end - lengths).min()) < 0 or end.max() > len(events)):
        raise DataError("samples, history", found="a range outside of the events", expected=f"0 to {len(events)}")
    entries = events.select("item_id", "liked", "rating")[_range_places(end, lengths)]
    entries = entries.select(pl.struct(pl.col("item_id").cast(pl.String), "liked", "rating"))
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), entries.to_series().to_arrow())
    history = pl.Series("history", lists, dtype=SAMPLES["history"])
    if samples.schema["sample_id"] == pl.UInt64:
        samples = samples.with_columns(hexadecimal(samples["sample_id"]))
    return samples.with_columns(pl.col("split", "user_id", "item_id").cast(pl.String), history).select(*SAMPLES)


def _range_places(end: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """The places of all ranges, one range after another."""
    offsets = np.cumsum(lengths, dtype=np.int64) - lengths
    places: NDArray[np.int64] = np.arange(lengths.sum(dtype=np.int64)) + np.repeat(end - lengths - offsets, lengths)
    return places


def history_ranges(
    rows: pl.DataFrame, *, max_history: int, min_history: int, negatives_in_history: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give every row the history before it, and keep those whose history is long enough.

    Args:
        rows: Labelled interactions (`feedback.label`) with each user's rows together and in the order wanted; the
            negatives of an event directly after its positive.
        max_history: Longest history; longer ones keep their newest entries.
        min_history: How many entries a sample must have before it (counted before `max_history` cuts them).
        negatives_in_history: Whether sampled negatives of earlier events appear in histories.

    Returns:
        The rows kept, in their order, with ``label``, ``position`` (of the event among the user's, from 0),
        ``history_end`` and ``history_length`` (only events of the same user that come before the row's own event); and
        the rows that histories may consist of, to which the ranges refer.
    """
    new_user = (rows["user_id"] != rows["user_id"].shift(1)).fill_null(True).to_numpy()
    negative = rows["negative"].to_numpy()
    shown = np.ones(len(rows), dtype=bool) if negatives_in_history else ~negative
    before = np.cumsum(shown) - shown  # rows that may be shown, before each row
    place = np.arange(len(rows))
    event = np.maximum.accumulate(np.where(negative, 0, place))  # the positive that opens the row's event
    user = np.maximum.accumulate(np.where(new_user, place, 0))
    end = before[event]
    start = np.maximum(before[user], end - max_history)
    events_before = np.cumsum(~negative) - ~negative
    kept = np.flatnonzero(end - before[user] >= min_history)
    samples = rows[kept].with_columns(
        pl.col("liked").cast(SAMPLES["label"]).alias("label"),
        pl.Series("position", events_before[event][kept] - events_before[user][kept], dtype=pl.Int64),
        pl.Series("history_end", end[kept], dtype=pl.Int64),
        pl.Series("history_length", (end - start)[kept], dtype=pl.Int32),
    )
    return samples, rows.filter(pl.Series(shown)).select(*EVENTS)


def trimmed(samples: pl.DataFrame, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ``past_length``: all that the user did before. Drop the events that are in no past; the ranges follow."""
    end, lengths = (samples[name].to_numpy() for name in ("history_end", "history_length"))
    new_user = (events["user_id"] != events["user_id"].shift(1)).fill_null(True).to_numpy()
    first = np.maximum.accumulate(np.where(new_user, np.arange(len(events)), 0))  # event of each event's user
    past = np.zeros(len(samples), dtype=np.int64)
    some = lengths > 0  # an empty history has nothing before it
    past[some] = end[some] - first[end[some] - 1]
    samples = samples.with_columns(pl.Series("past_length", past, dtype=pl.Int32))
    used = used_events(samples.select("history_end", history_length="past_length"), len(events))
    kept = np.concatenate([[0], np.cumsum(used)])
    moved = pl.Series("history_end", kept[end], dtype=pl.Int64)
    return samples.with_columns(moved), events.filter(pl.Series(used))


def used_events(samples: pl.DataFrame, count: int) -> NDArray[np.bool_]:
    """Which of `count` events occur in a history of these samples, which are gone through a million at a time."""
    opened = np.zeros(count + 1, dtype=np.int32)
    for part in samples.select("history_end", "history_length").iter_slices(GROUP_ROWS):
        end = part["history_end"].to_numpy()
        start = end - part["history_length"].to_numpy()
        lowest = int(start.min())
        counts = opened[lowest : int(end.max()) + 1]
        counts += np.bincount(start - lowest, minlength=len(counts)).astype(np.int32)
        counts -= np.bincount(end - lowest, minlength=len(counts)).astype(np.int32)
    used: NDArray[np.bool_] = np.cumsum(opened, dtype=np.int32)[:-1] > 0
    return used


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
        writer.add_key_value_metadata({VERSION_KEY: str(SAMPLES_FORMAT)})
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
