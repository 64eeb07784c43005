"""Events of users, appended to a database: their history for requests, and data to tune on later.

Nothing here learns. A user's history is what their last events say, and `export_events` writes a table that
``recalign prepare table`` reads, so that a new model can be tuned.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl
from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection

from recalign.artifacts import write_file_atomic
from recalign.data.schema import HistoryEntry
from recalign.errors import DataError
from recalign.serving.database import EVENTS, Database

Kind = Literal["like", "dislike", "rating"]
_TOGETHER: Final = 1_000  # events that one statement looks up


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


class EventStore:
    """Where servers keep events: a SQLite file or a PostgreSQL database.

    Its methods may be called from several threads, and several processes may use one store. After a `StoreError` a
    method may be called again: what was lost is connected anew.

    Attributes:
        name: For messages; without a password.
    """

    def __init__(self, store: str | Path, *, like_above: float | None = None, create: bool = True) -> None:
        """Open or create.

        Args:
            store: A file (SQLite), or a URL of SQLAlchemy.
            like_above: A rating above it counts as liked; without it ratings are refused.
            create: Make a store that is not there.

        Raises:
            ConfigError: The URL is wrong, or its database is not supported or has no driver.
            StoreError: The database cannot be opened, or is something else. All methods may raise it.
        """
        self._like_above = like_above
        self._database = Database(store, create=create)
        self.name = self._database.name

    def append(self, events: Sequence[Event]) -> int:
        """Store all events or none, durably; return how many were new.

        Where the connection is lost meanwhile, they may be stored all the same. To append them again is safe.

        Raises:
            DataError: A key is known with other contents; or a rating, where the store does not know what is liked.
        """
        at = time.time_ns() // 1000
        wanted: dict[str, Event] = {}
        for event in events:
            _check_same(wanted.setdefault(event.key, event), event)
        rows = {key: {**asdict(event), "liked": self._liked(event), "at": at} for key, event in wanted.items()}
        keys, insert = list(wanted), self._database.insert_new

        def append_all(run: Connection) -> int:
            stored = 0
            for start in range(0, len(keys), _TOGETHER):
                part = {key: wanted[key] for key in keys[start : start + _TOGETHER]}
                # Another process may store or delete the same event between two statements, so look again.
                while missing := _missing(run, part):
                    values = [rows[key] for key in missing]
                    stored += run.execute(insert, values, execution_options={"preserve_rowcount": True}).rowcount
            return stored

        return self._database.write(append_all)

    def history(self, user: str, last: int) -> tuple[HistoryEntry, ...]:
        """What the user's last events say about the `last` items that they are about, oldest first."""
        event = EVENTS.c
        # The last event about an item counts.
        latest = select(func.max(event.number)).where(event.user == user).group_by(event.item)
        query = select(event.item, event.liked, event.rating).where(event.number.in_(latest))
        rows = self._database.read(lambda run: run.execute(query.order_by(event.number.desc()).limit(last)).all())
        return tuple(HistoryEntry(item, liked, rating) for item, liked, rating in reversed(rows))

    def forget(self, user: str) -> int:
        """Delete all events of the user; return how many there were.

        SQLite overwrites them with zeros, in the file and in its log.
        """
        statement = delete(EVENTS).where(EVENTS.c.user == user)
        deleted = self._database.write(lambda run: run.execute(statement).rowcount)
        self._database.overwrite_deleted()
        return deleted

    def frame(self) -> pl.DataFrame:
        """All events, oldest first: user_id, item_id, liked, timestamp (microseconds)."""
        event = EVENTS.c
        query = select(event.user, event.item, event.liked, event.at).order_by(event.number)
        rows = self._database.read(lambda run: [tuple(row) for row in run.execute(query)])
        schema = {"user_id": pl.String(), "item_id": pl.String(), "liked": pl.Boolean(), "timestamp": pl.Int64()}
        return pl.DataFrame(rows, schema=schema, orient="row").cast({"liked": pl.Int8()})

    def close(self) -> None:
        """Let go of the store."""
        self._database.close()

    def _liked(self, event: Event) -> bool:
        if event.rating is None:
            return event.kind == "like"
        if self._like_above is None:
            raise DataError("a rating", expected="a like or a dislike", hint="Start with --like-above to take ratings")
        return event.rating > self._like_above


def export_events(store: str | Path, output: Path) -> int:
    """Write the events of a store as Parquet, for ``recalign prepare table``; return how many there are.

    Args:
        store: As `EventStore` takes it.
        output: The file to write.

    Raises:
        ConfigError: The store's URL is wrong.
        ArtifactError: There is no store, or `output` cannot be written.
        DataError: The store is empty.
    """
    with closing(EventStore(store, create=False)) as opened:
        events = opened.frame()
    if events.is_empty():
        raise DataError(opened.name, found="no event", expected="something to export")
    table = io.BytesIO()
    events.write_parquet(table)
    write_file_atomic(output, table.getvalue())
    return len(events)


def _missing(run: Connection, wanted: Mapping[str, Event]) -> list[str]:
    """The keys that are not stored; those that are must be the same events."""
    event = EVENTS.c
    query = select(event.key, event.user, event.item, event.kind, event.rating).where(event.key.in_(wanted))
    stored = [Event(*row) for row in run.execute(query)]
    for known in stored:
        _check_same(known, wanted[known.key])
    keys = {known.key for known in stored}
    return [key for key in wanted if key not in keys]


def _check_same(known: Event, event: Event) -> None:
    if known != event:
        raise DataError("the idempotency key", found="another event with it", expected="a key for each event")
