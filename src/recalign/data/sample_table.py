"""`SampleTable`: samples whose histories are ranges in a table of events, so what ten windows share is kept once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from recalign.data.codes import encode
from recalign.data.sample_ids import hexadecimal
from recalign.data.schema import EVENTS, SAMPLES, SPLITS, STORED_SAMPLES
from recalign.errors import DataError

SPLIT: Final = pl.Enum(SPLITS)


@dataclass(frozen=True)
class SampleTable:
    """Samples and the events that their histories consist of.

    Attributes:
        samples: Columns of `schema.STORED_SAMPLES`, in the order of the samples. Ids are Enums that `events` shares,
            `split` is the Enum `SPLIT`, and `sample_id` may be UInt64 (`sample_ids`).
        events: Columns of `schema.EVENTS`; each user's together, from oldest to newest.
    """

    samples: pl.DataFrame
    events: pl.DataFrame

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> SampleTable:
        """From rows with whole histories (`schema.SAMPLES`); every row gets events of its own."""
        lengths = frame["history"].list.len().cast(pl.Int32)
        entries = frame["history"].explode(empty_as_null=False).struct.unnest()
        events = entries.select(
            frame["user_id"].gather(np.repeat(np.arange(len(frame)), lengths.to_numpy())), "item_id", "liked", "rating"
        )
        ranges = frame.drop("history").with_columns(
            pl.Series("history_end", lengths.to_numpy().cumsum(dtype=np.int64), dtype=pl.Int64),
            lengths.alias("history_length"),
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
    """Drop the events that no history refers to; the ranges follow."""
    end, lengths = (samples[name].to_numpy() for name in ("history_end", "history_length"))
    size = len(events) + 1
    opened = np.bincount(end - lengths, minlength=size) - np.bincount(end, minlength=size)
    used = np.cumsum(opened)[:-1] > 0
    kept = np.concatenate([[0], np.cumsum(used)])
    return samples.with_columns(pl.Series("history_end", kept[end], dtype=pl.Int64)), events.filter(pl.Series(used))
