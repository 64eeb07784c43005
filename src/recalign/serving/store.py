"""Events of users, appended to one SQLite file: their history for requests, and data to tune on later.

Nothing here learns. A user's history is what their last events say, and `export_events` writes a table that
``recalign prepare table`` reads, so that a new model can be tuned.
"""

from __future__ import annotations

import io
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import polars as pl

from recalign.artifacts import write_file_atomic
from recalign.data.schema import HistoryEntry
from recalign.errors import ArtifactError, DataError

Kind = Literal["like", "dislike", "rating"]
FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, user TEXT NOT NULL, item TEXT NOT NULL,
    kind TEXT NOT NULL, liked INTEGER NOT NULL, rating REAL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS event_user ON event (user, number);
CREATE TRIGGER IF NOT EXISTS event_append_only BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
"""
# The last event about an item counts.
_HISTORY: Final = """
SELECT item, liked, rating FROM event
WHERE number IN (SELECT max(number) FROM event WHERE user = ? GROUP BY item) ORDER BY number DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user did; events with the same `key` are the same event.

    Attributes:
        rating: Only of the kind "rating", on the shop's own scale.
    """

    key: str
    user: str
    item: str
    kind: Kind
    rating: float | None = None


class EventStore(Protocol):
    """Where a server keeps events. Its methods may be called from several threads."""

    def append(self, events: Sequence[Event]) -> int:
        """Store all events or none, durably; return how many were new.

        Raises:
            DataError: A key is known with other contents; or a rating, where the store does not know what is liked.
        """

    def history(self, user: str, last: int) -> tuple[HistoryEntry, ...]:
        """What the user's last events say about the `last` items that they are about, oldest first."""

    def forget(self, user: str) -> int:
        """Delete all events of the user; return how many there were."""

    def close(self) -> None:
        """Let go of the store."""


class SqliteStore:
    """An `EventStore` in one file, in WAL mode: readers do not wait for writers. One process at a time writes."""

    def __init__(self, path: Path, *, like_above: float | None = None) -> None:
        """Open or create.

        Args:
            path: The file.
            like_above: A rating above it counts as liked; without it ratings are refused.

        Raises:
            ArtifactError: The file cannot be opened, or is something else.
        """
        self.path, self._like_above = path, like_above
        self._lock = threading.Lock()
        with self._errors():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._connection.execute(f"PRAGMA {setting}")
            (found,) = self._connection.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                raise ArtifactError(f"store {path}", found=f"format {found}", expected=f"format {FORMAT}")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def append(self, events: Sequence[Event]) -> int:
        """As `EventStore.append`."""
        at = time.time_ns() // 1000
        with self._transaction() as run:
            return sum(self._append(run, event, at) for event in events)

    def history(self, user: str, last: int) -> tuple[HistoryEntry, ...]:
        """As `EventStore.history`."""
        with self._lock, self._errors():
            rows = self._connection.execute(_HISTORY, (user, last)).fetchall()
        return tuple(HistoryEntry(item, bool(liked), rating) for item, liked, rating in reversed(rows))

    def forget(self, user: str) -> int:
        """As `EventStore.forget`. What was deleted is overwritten with zeros, in the file and in its log."""
        with self._transaction() as run:
            deleted = run.execute("DELETE FROM event WHERE user = ?", (user,)).rowcount
        with self._lock, self._errors():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    def frame(self) -> pl.DataFrame:
        """All events, oldest first: user_id, item_id, liked, timestamp (microseconds)."""
        with self._lock, self._errors():
            rows = self._connection.execute("SELECT user, item, liked, at FROM event ORDER BY number").fetchall()
        schema = {"user_id": pl.String(), "item_id": pl.String(), "liked": pl.Int8(), "timestamp": pl.Int64()}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def close(self) -> None:
        """As `EventStore.close`."""
        self._connection.close()

    def _append(self, run: sqlite3.Connection, event: Event, at: int) -> int:
        liked = event.kind == "like"
        if event.rating is not None:
            if self._like_above is None:
                raise DataError(
                    "a rating", expected="a like or a dislike", hint="Start with --like-above to take ratings"
                )
            liked = event.rating > self._like_above
        known = run.execute("SELECT user, item, kind, rating FROM event WHERE key = ?", (event.key,)).fetchone()
        row = (event.user, event.item, event.kind, event.rating)
        if known is None:
            values = (event.key, *row[:3], liked, event.rating, at)
            run.execute("INSERT INTO event (key, user, item, kind, liked, rating, at) VALUES (?,?,?,?,?,?,?)", values)
        elif known != row:
            raise DataError("the idempotency key", found="another event with it", expected="a key for each event")
        return int(known is None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ArtifactError(f"store {self.path}", found=str(error), expected="a SQLite file of events") from error


def export_events(store: Path, output: Path) -> int:
    """Write the events of a store as Parquet, for ``recalign prepare table``; return how many there are.

    Raises:
        ArtifactError: There is no store, or `output` cannot be written.
        DataError: The store is empty.
    """
    if not store.is_file():
        raise ArtifactError(f"store {store}", found="nothing there", expected="the file of recalign serve --store")
    opened = SqliteStore(store)
    try:
        events = opened.frame()
    finally:
        opened.close()
    if events.is_empty():
        raise DataError(f"store {store}", found="no event", expected="something to export")
    table = io.BytesIO()
    events.write_parquet(table)
    write_file_atomic(output, table.getvalue())
    return len(events)
