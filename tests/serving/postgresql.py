"""A PostgreSQL server of the tests' own, from the programs that are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "not-to-be-shown"
# Nothing of it must survive a crash of the machine.
SETTINGS = "-c listen_addresses= -c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c max_wal_senders=0"


@dataclass
class PostgreSQL:
    """A server that listens on a socket in `folder` alone. Each store gets a schema of its own."""

    programs: Path
    folder: Path
    identity: dict[str, Any]

    def __post_init__(self) -> None:
        self._schemas = count(1)

    def url(self, schema: str | None = None, password: str = PASSWORD) -> str:
        """The URL of a store in a schema, by default in a new one."""
        if schema is None:
            schema = f"test_{next(self._schemas)}"
            self.execute(f"CREATE SCHEMA {schema}")
        return f"postgresql://tester:{password}@/postgres?host={self.folder}&options=-csearch_path%3D{schema}"

    def execute(self, statement: str) -> None:
        """Run a statement apart from all stores."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="tester", password=PASSWORD, dbname="postgres") as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"{SETTINGS} -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "start", "--wait", "-D", "data", "-l", "log", "-o", options)

    def kill(self) -> None:
        """Stop at once; connections break, as in a crash."""
        self.run("pg_ctl", "stop", "-D", "data", "-m", "immediate")

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL; what it says is shown where it fails."""
        command = [str(self.programs / program), *arguments]
        # Into a file: the server keeps it open.
        with (self.folder / "said").open("w+") as said:
            done = subprocess.run(command, cwd=self.folder, stdout=said, stderr=said, check=False, **self.identity)
            said.seek(0)
            assert done.returncode == 0, said.read()


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """A new server; the test is skipped where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: initdb is neither in PATH nor below /usr/lib/postgresql")
    with tempfile.TemporaryDirectory(prefix="recalign-pg-") as name:  # short: it is part of a socket's path
        folder = Path(name)
        server = PostgreSQL(programs, folder, _identity(folder))
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        server.run(
            *("initdb", "-D", "data", "--username=tester", "--pwfile=password", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda path: float(path.parent.name), default=None)


def _identity(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses root, so root runs it as somebody else, who gets the folder."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o755)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
