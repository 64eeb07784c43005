"""Rows put down by shard of their user, so that a shard is read alone: memory holds a block of the input, or one shard.

A user's shard is the SHA-256 of the id modulo the number of shards. It depends on nothing else: not on the order of the
rows, nor on other users, nor on the machine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recalign.artifacts.storage import storage_errors
from recalign.data.sample_ids import text_hashes

_ROWS: Final = 1_000_000  # held before they are put down


class Spool:
    """Collects rows in a temporary folder, in files of one shard each.

    Args:
        folder: An empty folder.
        schema: The columns of the rows. One of them is `user_id`.
        shards: The number of shards of the whole.
        wanted: The shards that are kept; rows of others are dropped.
        rows: How many rows are held in memory before they are put down.
    """

    def __init__(
        self,
        folder: Path,
        schema: Mapping[str, pl.DataType],
        shards: int,
        wanted: Collection[int],
        *,
        rows: int = _ROWS,
    ) -> None:
        self.folder, self.schema, self.shards, self.wanted = folder, dict(schema), shards, frozenset(wanted)
        self._limit, self._held, self._waiting = rows, 0, [pl.DataFrame(schema=self.schema)]
        self._files: dict[int, list[Path]] = {shard: [] for shard in self.wanted}

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows with the columns of the schema."""
        self._waiting.append(rows.select(*self.schema))
        self._held += len(rows)
        if self._held >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Put down what is held. Raises ArtifactError where the temporary folder is full."""
        rows = pl.concat(self._waiting)
        self._held, self._waiting = 0, [rows.clear()]
        for (shard,), part in rows.with_columns(shard_of(rows["user_id"], self.shards)).group_by("shard"):
            if (number := int(str(shard))) in self.wanted:
                path = self.folder / f"{number}-{len(self._files[number])}.parquet"
                with storage_errors(path), path.open("wb") as stream:
                    part.select(*self.schema).write_parquet(stream, compression="lz4")
                self._files[number].append(path)

    def read(self, shard: int) -> pl.DataFrame:
        """The rows of one shard that were put down, in the order in which they came."""
        return pl.concat([pl.DataFrame(schema=self.schema), *(pl.read_parquet(path) for path in self._files[shard])])

    def users(self, shard: int) -> pl.Series:
        """The users of a shard, each once, in no order."""
        columns = [pl.read_parquet(path, columns=["user_id"])["user_id"].unique() for path in self._files[shard]]
        return pl.concat([pl.Series("user_id", dtype=pl.String), *columns]).unique()


def shard_of(users: pl.Series, shards: int) -> pl.Series:
    """Column `shard`, from 0 to `shards` - 1, of each user id."""
    distinct = users.unique()
    numbers = (text_hashes(distinct) % np.uint64(shards)).astype(np.uint32)
    return users.replace_strict(distinct, pl.Series(numbers), return_dtype=pl.UInt32).alias("shard")
