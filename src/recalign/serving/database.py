"""The database of a store of events: a SQLite file or PostgreSQL, and all in which these two differ."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy
from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from recalign.errors import ArtifactError, ConfigError

Result = TypeVar("Result")
FORMAT: Final = 1
WAIT_SECONDS: Final = 10  # for a connection, and for others that write
_ATTEMPTS: Final = 5
_POLL_SECONDS: Final = 0.01
# The database undid the transaction because of another one (serialization_failure, deadlock_detected).
_UNDONE: Final = frozenset({"40001", "40P01"})
EVENTS: Final = Table(
    "event",
    MetaData(),
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("user", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("liked", Boolean, nullable=False),
    Column("rating", Double),
    Column("at", BigInteger, nullable=False),
    Index("event_user", "user", "number"),
    sqlite_autoincrement=True,
)


class StoreError(ArtifactError):
    """The database of a store cannot be reached or used, or is something else."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What one kind of database needs.

    Attributes:
        title: What messages call it.
        driver: What SQLAlchemy calls it.
        begin: First statement of a transaction that writes.
        lock: Held by a transaction that creates the schema.
        find_format: Query for the format of the store that is there; NULL or no row where there is none.
        schema: Statements that complete the schema.
        insert_new: Insert events whose keys are not there yet.
        overwrite: Statement that overwrites what was deleted; its first value says whether somebody was in the way.
    """

    title: str
    driver: str
    begin: str
    lock: str
    find_format: str
    schema: tuple[str, ...]
    insert_new: sqlalchemy.Insert
    overwrite: str | None = None


_SQLITE: Final = _Dialect(
    title="a SQLite file",
    driver="sqlite+pysqlite",
    begin="BEGIN IMMEDIATE",
    lock="SELECT 1",  # BEGIN IMMEDIATE has it
    find_format="SELECT nullif(user_version, 0) FROM pragma_user_version",
    schema=(
        "CREATE TRIGGER event_append_only BEFORE UPDATE ON event "
        "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
        f"PRAGMA user_version = {FORMAT}",
    ),
    insert_new=sqlite.insert(EVENTS).on_conflict_do_nothing(index_elements=["key"]),
    overwrite="PRAGMA wal_checkpoint(TRUNCATE)",
)
_POSTGRESQL: Final = _Dialect(
    title="a PostgreSQL database",
    driver="postgresql+psycopg",
    begin=f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'",
    lock="SELECT pg_advisory_xact_lock(1919247212)",
    # to_regclass('event') would say for a while that there is no table, where another process has just made it.
    find_format="SELECT substring(obj_description(oid, 'pg_class') FROM '^recalign events, format ([0-9]+)$')::int "
    "FROM pg_class WHERE relname = 'event' AND pg_table_is_visible(oid)",
    schema=(
        "CREATE FUNCTION event_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$",
        "CREATE TRIGGER event_append_only BEFORE UPDATE ON event EXECUTE FUNCTION event_append_only()",
        f"COMMENT ON TABLE event IS 'recalign events, format {FORMAT}'",
    ),
    insert_new=postgresql.insert(EVENTS).on_conflict_do_nothing(index_elements=["key"]),
)
_DIALECTS: Final = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}


class Database:
    """A database that has the table of events. Its methods may be called from several threads.

    Attributes:
        name: For messages; without a password.
        insert_new: Inserts events whose keys are not there yet.
    """

    def __init__(self, store: str | Path, *, create: bool = True) -> None:
        """Open it.

        Args:
            store: A file (SQLite), or a URL of SQLAlchemy.
            create: Make what is not there.

        Raises:
            ConfigError: The URL is wrong, or its database is not supported or not installed.
            StoreError: There is nothing, something else, or no connection.
        """
        url = _url(store)
        self._dialect = _DIALECTS[url.get_backend_name()]
        self.name = f"store {_public(url)}"
        self.insert_new = self._dialect.insert_new
        if not create and self._dialect is _SQLITE and not Path(url.database or "").is_file():
            raise self._nothing()  # to connect would make the file
        self._engine = _engine(url, self._dialect)
        try:
            self._check_format(create)
        except BaseException:
            self.close()
            raise

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Do work that only reads."""
        with self._errors(), self._engine.connect() as run:
            return work(run)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Do work in a transaction: all of it or nothing, durably. It is repeated where another was in its way."""
        with self._errors():
            attempts = 1
            while True:
                try:
                    with self._engine.begin() as run:
                        run.exec_driver_sql(self._dialect.begin)
                        return work(run)
                except DBAPIError as error:
                    if attempts == _ATTEMPTS or getattr(error.orig, "sqlstate", None) not in _UNDONE:
                        raise
                attempts += 1

    def overwrite_deleted(self) -> None:
        """Overwrite what was deleted, where that can be done at once."""
        statement = self._dialect.overwrite
        if statement is not None and self.read(lambda run: run.exec_driver_sql(statement).scalar()):
            raise StoreError(
                self.name,
                found="a process that reads it, so what was deleted stands in its log",
                expected="to overwrite it",
                hint="Delete the user again when that process is done",
            )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _check_format(self, create: bool) -> None:
        found = self.read(self._format)
        if found is None and not create:
            raise self._nothing()
        if found is None:
            found = self.write(self._create)
        if found != FORMAT:
            raise StoreError(self.name, found=f"format {found}", expected=f"format {FORMAT}")

    def _format(self, run: Connection) -> int | None:
        found: int | None = run.exec_driver_sql(self._dialect.find_format).scalar()
        return found

    def _create(self, run: Connection) -> int:
        run.exec_driver_sql(self._dialect.lock)
        found = self._format(run)  # another process may have made it meanwhile
        if found is None:
            EVENTS.metadata.create_all(run, checkfirst=False)
            for statement in self._dialect.schema:
                run.exec_driver_sql(statement)
        return found or FORMAT

    def _nothing(self) -> StoreError:
        return StoreError(self.name, found="nothing there", expected="what recalign serve --store wrote")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StoreError(self.name, found=str(cause), expected=f"{self._dialect.title} of events") from error


def _url(store: str | Path) -> URL:
    """The URL of a store. No error shows what was given: a password may stand in it."""
    if isinstance(store, Path) or "://" not in store:
        return URL.create(_SQLITE.driver, database=str(store))
    known = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    if store.count("@") > 1:
        raise ConfigError("the URL of the store", found="more than one @", hint="Write one in a password as %40")
    try:
        url = make_url(store)
    except (ArgumentError, ValueError):
        # Without its cause, which quotes what it could not read.
        raise ConfigError("the URL of the store", found="something else", expected=known) from None
    dialect = _DIALECTS.get(url.get_backend_name())
    if dialect is None or url.drivername not in (url.get_backend_name(), dialect.driver):
        raise ConfigError("the URL of the store", found=url.drivername, expected=known)
    if dialect is _SQLITE and (url.query or url.host or url.username):
        raise ConfigError("the URL of the store", found="a host or options", expected="sqlite:///FILE")
    return url.set(drivername=dialect.driver)


def _public(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(query={}).render_as_string(hide_password=True)  # options may hold a password too


def _engine(url: URL, dialect: _Dialect) -> Engine:
    # Parameters are what users did: no error shows them.
    if dialect is _POSTGRESQL:
        options = {"connect_timeout": str(WAIT_SECONDS), "tcp_user_timeout": f"{WAIT_SECONDS}000"}
        url = url.set(query={**options, "client_encoding": "utf8", **url.query})
        try:
            return sqlalchemy.create_engine(
                url, isolation_level="READ COMMITTED", pool_pre_ping=True, hide_parameters=True
            )
        except ImportError as error:
            hint = "Install it: pip install 'recalign[postgres]'"
            raise ConfigError("a store in PostgreSQL", found="no driver (psycopg)", hint=hint) from error
    # One connection, as there is one writer; and one that reads would keep what was deleted in the log.
    arguments = {"isolation_level": None, "check_same_thread": False, "timeout": WAIT_SECONDS}
    engine = sqlalchemy.create_engine(
        url, connect_args=arguments, poolclass=QueuePool, pool_size=1, max_overflow=0, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        _write_ahead(connection)
        for setting in ("synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {setting}")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait by itself where another process is just making the file."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(_POLL_SECONDS)
