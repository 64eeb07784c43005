from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recalign.bulk.histories import EVENTS
from recalign.bulk.spool import Spool, shard_of


def test_a_shard_is_a_function_of_the_id_alone() -> None:
    users = pl.Series("user_id", ["u1", "u2", "u1", "線", ""])
    # The first 8 bytes of SHA-256, big endian, modulo 20. Other numbers would mix up outputs of two versions.
    assert shard_of(users, 20).to_list() == [2, 15, 2, 19, 12]
    assert shard_of(users[:1], 1).to_list() == [0]


@pytest.mark.parametrize("held", [1, 5, 1000])
def test_shards_part_the_rows_and_keep_their_order(tmp_path: Path, held: int) -> None:
    rows = pl.DataFrame(
        {"user_id": [f"u{number % 7}" for number in range(40)], "item_id": [str(number) for number in range(40)]}
    ).with_columns(rating=pl.lit(None, pl.Float64), timestamp=pl.lit(None, pl.Int64))
    spool = Spool(tmp_path, EVENTS, 3, [0, 2], rows=held)
    for start in range(0, 40, 4):
        spool.add(rows[start : start + 4])
    spool.flush()
    for shard in (0, 2):
        expected = rows.filter(shard_of(rows["user_id"], 3) == shard)
        assert spool.read(shard).equals(expected)
        assert sorted(spool.users(shard)) == sorted(expected["user_id"].unique())
    assert len(spool.read(0)) + len(spool.read(2)) < 40  # nobody wanted shard 1
