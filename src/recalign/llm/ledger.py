"""The ledger: every paid answer, keyed by content, in one SQLite file. A crash loses no answer that had arrived.

A row is an exchange with a SHA-256 over it. Where the two do not agree, the row is never parsed, and its question is
asked again. A file that SQLite finds damaged is set aside (not deleted), and its sound rows move to a new one. A call
is written down at its worst case before it is sent and at what it was when it returns, so a killed process has not
spent in secret. No API key is ever stored: a row's key is a hash of prompt, teacher, settings and template.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Final, Self

from recalign.errors import ArtifactError
from recalign.llm.base import Completion, TokenLogprobs, Usage

FORMAT: Final = 1
_SPENDING: Final = "prompt_tokens, completion_tokens, settled"
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS exchange (key TEXT PRIMARY KEY, body TEXT NOT NULL, checksum TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS spending (id INTEGER PRIMARY KEY, prompt_tokens INTEGER NOT NULL,"
    " completion_tokens INTEGER NOT NULL, settled INTEGER NOT NULL)",
)


def ledger_path(output: Path) -> Path:
    """Where the ledger of an output lies unless told otherwise: beside it."""
    return output.with_name(f"{output.name}.ledger.sqlite")


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer, and when it was asked for and complete: UTC, ISO 8601; None for a teacher without a ledger."""

    completion: Completion
    asked: str | None = None
    answered: str | None = None


class Ledger:
    """Exchanges and spending. One process at a time; use as a context manager.

    Attributes:
        path: The file.
        damaged: Rows (and files) found damaged since it was opened.
        pending: Calls that an earlier run had sent and not settled: their worst case counts as spent.
        notes: What happened to a damaged file, one line each.
    """

    def __init__(self, path: Path) -> None:
        """Open or create.

        Raises:
            ArtifactError: The file is in use by another run, of a newer format, something else, or not writable.
        """
        self.path, self.damaged, self.notes = path, 0, list[str]()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not self._is_sound():
                self._renew()
            self._connection = self._open()
            self.pending = self._number("SELECT count(*) FROM spending WHERE settled = 0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def get(self, key: str) -> Exchange | None:
        """The exchange of `key`; None if there is none, or none that is intact."""
        with self._errors():
            row = self._connection.execute("SELECT body, checksum FROM exchange WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            if _checksum(key, row[0]) != row[1]:
                self.damaged += 1
                self.forget(key)
                return None
        return _decode(row[0])

    def begin(self, worst: Usage) -> int:
        """Write down that a call is about to be sent, at its worst case; the number settles it later."""
        values = (worst.prompt_tokens, worst.completion_tokens, 0)
        return int(self._execute(f"INSERT INTO spending ({_SPENDING}) VALUES (?, ?, ?)", values).lastrowid or 0)

    def finish(self, number: int, key: str, exchange: Exchange, usage: Usage) -> None:
        """Store the exchange and what it cost, both or neither."""
        body = _encode(exchange)
        with self._errors():
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            run("INSERT OR REPLACE INTO exchange VALUES (?, ?, ?)", (key, body, _checksum(key, body)))
            run(
                "UPDATE spending SET prompt_tokens = ?, completion_tokens = ?, settled = 1 WHERE id = ?",
                (usage.prompt_tokens, usage.completion_tokens, number),
            )
            run("COMMIT")

    def cancel(self, number: int) -> None:
        """The call was refused unanswered: nothing was spent."""
        self._execute("DELETE FROM spending WHERE id = ?", (number,))

    def forget(self, key: str) -> None:
        """Remove an exchange, so that its question is asked again. What it cost stays counted."""
        self._execute("DELETE FROM exchange WHERE key = ?", (key,))

    def spent(self) -> Usage:
        """Tokens spent through this ledger, by all runs; calls without a known end count at their worst case."""
        with self._errors():
            query = "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM spending"
            return Usage(*(int(value) for value in self._connection.execute(query).fetchone()))

    def count(self) -> int:
        """Number of exchanges. (No ``__len__``: an empty ledger must not count as none.)"""
        return self._number("SELECT count(*) FROM exchange")

    def _open(self) -> sqlite3.Connection:
        # Where an event loop runs already, the work is done in another thread than the opening, never in two at once.
        connection = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: a second run on the same ledger would pay for the same answers twice.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > FORMAT:
                found, hint = f"format {version}", "Upgrade recalign."
                raise ArtifactError(f"ledger {self.path}", found=found, expected=f"{FORMAT}", hint=hint)
            connection.execute("BEGIN EXCLUSIVE")
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_sound(self) -> bool:
        with closing(sqlite3.connect(self.path, timeout=0.5, isolation_level=None)) as connection:
            try:
                return bool(connection.execute("PRAGMA quick_check").fetchone()[0] == "ok")
            except sqlite3.OperationalError:
                raise  # locked, unreadable: says nothing about its content
            except sqlite3.DatabaseError:
                return False

    def _renew(self) -> None:
        """Set the damaged file aside and start a new one with the rows that are still whole."""
        names = (self.path.with_name(f"{self.path.name}.damaged-{number}") for number in count(1))
        aside = next(path for path in names if not path.exists())
        for suffix in ("", "-wal", "-journal", "-shm"):
            companion = self.path.with_name(self.path.name + suffix)
            if companion.exists():
                companion.rename(aside.with_name(aside.name + suffix))
        kept = 0
        with closing(sqlite3.connect(aside, isolation_level=None)) as old, closing(self._open()) as new:
            for row in _salvage(old, "SELECT key, body, checksum FROM exchange"):
                if isinstance(row[0], str) and isinstance(row[1], str) and _checksum(row[0], row[1]) == row[2]:
                    new.execute("INSERT OR REPLACE INTO exchange VALUES (?, ?, ?)", row)
                    kept += 1
            for row in _salvage(old, f"SELECT {_SPENDING} FROM spending"):
                if all(isinstance(value, int) and value >= 0 for value in row):
                    new.execute(f"INSERT INTO spending ({_SPENDING}) VALUES (?, ?, ?)", row)
        self.damaged += 1
        self.notes.append(f"ledger {self.path} was damaged: {kept} answers kept, the file set aside as {aside.name}")

    def _number(self, query: str) -> int:
        with self._errors():
            return int(self._connection.execute(query).fetchone()[0])

    def _execute(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        with self._errors():
            return self._connection.execute(statement, values)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            locked = "locked" in str(error)
            found = "a lock of another run" if locked else str(error)
            hint = "Wait for the other run, or name another --ledger." if locked else "Check the path and the disk."
            raise ArtifactError(f"ledger {self.path}", found=found, hint=hint) from error


def _salvage(connection: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """Rows up to the first that SQLite cannot read."""
    with suppress(sqlite3.DatabaseError):
        yield from connection.execute(query)


def _checksum(key: str, body: object) -> str:
    return hashlib.sha256(f"{key}\n{body}".encode("utf-8", "surrogatepass")).hexdigest()


def _encode(exchange: Exchange) -> str:
    fields = asdict(exchange)
    if exchange.completion.logprobs is None:
        del fields["completion"]["logprobs"]  # an answer without them is written as it was before there were any
    return json.dumps(fields, sort_keys=True)


def _decode(body: str) -> Exchange:
    fields = json.loads(body)
    completion = fields["completion"]
    usage, told = completion["usage"], completion.get("logprobs")
    completion["usage"] = Usage(**usage) if usage else None
    if told is not None:
        completion["logprobs"] = tuple(
            TokenLogprobs(place["token"], place["logprob"], tuple(map(tuple, place["top"]))) for place in told
        )
    return Exchange(Completion(**completion), fields["asked"], fields["answered"])
