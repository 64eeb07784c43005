"""Sample ids: 16 hexadecimal digits that say which target a sample is, on every machine and for every order of input.

The id is a 64-bit hash of protocol, user, item and position. With ``h(x)`` the first 8 bytes of SHA-256 (big endian)
and ``mix`` the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014),

    id = mix(mix(mix(h(protocol) ^ h(user)) ^ h(item)) ^ position)

SHA-256 runs once per user and item, the rest in arrays. `mix` is a bijection: ids of one user and item never collide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from recalign.data.codes import codes, encode, names, repeated
from recalign.errors import DataError

Hashes = NDArray[np.uint64]

_DIGITS: Final = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode("ascii"), dtype=np.uint16)


def text_hashes(texts: Iterable[str]) -> Hashes:
    """The first 8 bytes of SHA-256 of each text."""
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def mix(values: Hashes) -> Hashes:
    """SplitMix64's step and finaliser, per value: a bijection whose output bits all depend on all input bits."""
    values = values + np.uint64(0x9E3779B97F4A7C15)  # arithmetic of arrays wraps round, as it should
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class SampleIds:
    """Makes the ids of one protocol's samples. Hashes each user and item once."""

    def __init__(self, protocol: str, users: pl.Series, items: pl.Series) -> None:
        """`users` and `items` are the ids by code (`codes.names`)."""
        self._users = mix(text_hashes([protocol])[0] ^ text_hashes(users))
        self._items = text_hashes(items)

    def of(self, samples: pl.DataFrame) -> pl.Series:
        """Column ``sample_id`` (UInt64) of rows with Enum columns `user_id` and `item_id`, and `position`."""
        keys = mix(self._users[codes(samples["user_id"])] ^ self._items[codes(samples["item_id"])])
        return pl.Series("sample_id", mix(keys ^ samples["position"].to_numpy().astype(np.uint64)))


def with_sample_ids(frame: pl.DataFrame, protocol: str) -> pl.DataFrame:
    """Add ``sample_id`` as text to rows with `user_id`, `item_id` and `position`. Raises as `check_unique`."""
    [users], [items] = encode([frame["user_id"]]), encode([frame["item_id"]])
    ids = SampleIds(protocol, names(users), names(items)).of(frame.with_columns(users, items))
    check_unique(ids)
    return frame.with_columns(hexadecimal(ids))


def check_unique(ids: pl.Series) -> None:
    """Refuse repeated ids (UInt64).

    Raises:
        DataError: two samples have the same id. Of different samples, two among 100 million do so with a probability of
            0.0003; the ids are then of no use for pairing scores.
    """
    if len(again := repeated(ids.to_numpy())):
        raise DataError(
            "two samples have the same user, item and position",
            found=f"{len(again)} repeated sample ids, the first is {int(again[0]):016x}",
            expected="unique samples",
        )


def hexadecimal(ids: pl.Series) -> pl.Series:
    """Ids (UInt64) as 16 digits each."""
    count = len(ids)
    data = _DIGITS[ids.to_numpy().astype(">u8").view(np.uint8)]
    offsets = np.arange(0, 16 * (count + 1), 16, dtype=np.int64)
    text = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))
    return pl.Series(ids.name, text, dtype=pl.String)
