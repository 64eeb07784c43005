"""The ledger survives kills and notices damage: what is torn is asked again, never read."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from recalign.errors import ArtifactError
from recalign.llm.base import Completion, Usage
from recalign.llm.ledger import Exchange, Ledger

EXCHANGE = Exchange(Completion('Drama ♥\n1. "x"', "stop", Usage(10, 5), None, "m-1"), "2024-01-01T00:00:00+00:00", "x")


def fill(path: Path, count: int = 40) -> None:
    with Ledger(path) as ledger:
        for number in range(count):
            call = ledger.begin(Usage(100, 50))
            ledger.finish(call, f"key{number}", EXCHANGE, Usage(10, 5))


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    fill(tmp_path / "new" / "ledger.sqlite", 1)
    with Ledger(tmp_path / "new" / "ledger.sqlite") as ledger:
        assert ledger.get("key0") == EXCHANGE
        assert ledger.get("other") is None
        assert (ledger.count(), ledger.spent(), ledger.pending, ledger.damaged) == (1, Usage(10, 5), 0, 0)
        ledger.forget("key0")
        assert ledger.get("key0") is None
        assert ledger.spent() == Usage(10, 5), "forgotten, but paid"


def test_calls_without_an_end_count_at_their_worst(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        ledger.begin(Usage(100, 50))
        ledger.cancel(ledger.begin(Usage(7, 7)))
    with Ledger(tmp_path / "l") as ledger:
        assert (ledger.pending, ledger.spent()) == (1, Usage(100, 50))


@pytest.mark.parametrize(
    "damage",
    ["body = substr(body, 1, 20)", "body = replace(body, 'Drama', 'Dramb')", "checksum = ''", "body = '{}'"],
)
def test_a_torn_row_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "l"
    fill(path, 2)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE exchange SET {damage} WHERE key = 'key0'")
    connection.close()
    with Ledger(path) as ledger:
        assert ledger.get("key0") is None
        assert ledger.damaged == 1
        assert ledger.get("key1") == EXCHANGE


@pytest.mark.parametrize("share", [0.0, 0.02, 0.15, 0.4, 0.7, 0.95])
def test_a_truncated_file_gives_intact_rows_or_none(tmp_path: Path, share: float) -> None:
    path = tmp_path / "l"
    fill(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with Ledger(path) as ledger:
        found = [ledger.get(f"key{number}") for number in range(40)]
        assert all(exchange in (None, EXCHANGE) for exchange in found)
        assert any(exchange is None for exchange in found)
        kept = sum(exchange is not None for exchange in found)
        if share >= 0.02:
            assert (len(ledger.notes), ledger.damaged) == (1, 1)
            assert f"{kept} answers kept" in ledger.notes[0]
            assert (tmp_path / "l.damaged-1").stat().st_size == int(len(content) * share), "set aside, not deleted"
        call = ledger.begin(Usage(1, 1))
        ledger.finish(call, "new", EXCHANGE, Usage(1, 1))
    with Ledger(path) as ledger:
        assert ledger.get("new") == EXCHANGE
        assert ledger.notes == []


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "l"
    fill(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"Drama")
    content[place] ^= 0x20
    path.write_bytes(bytes(content))
    with Ledger(path) as ledger:
        found = [ledger.get(f"key{number}") for number in range(40)]
    assert found.count(None) == 1
    assert all(exchange in (None, EXCHANGE) for exchange in found)


def test_two_runs_do_not_share_a_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l"), pytest.raises(ArtifactError, match=r"a lock of another run.*another --ledger"):
        Ledger(tmp_path / "l")
    Ledger(tmp_path / "l").close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "l", 1)
    with sqlite3.connect(tmp_path / "l") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ArtifactError, match=r"format 99.*Upgrade"):
        Ledger(tmp_path / "l")


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="ledger"):
        Ledger(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from recalign.llm.base import Completion, Usage
from recalign.llm.ledger import Exchange, Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.finish(ledger.begin(Usage(9, 9)), "key", Exchange(Completion("kept")), Usage(3, 2))
ledger.begin(Usage(100, 50))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_no_answer_that_had_come(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "l")], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    with Ledger(tmp_path / "l") as ledger:
        stored = ledger.get("key")
        assert stored is not None
        assert stored.completion.text == "kept"
        assert (ledger.pending, ledger.spent()) == (1, Usage(103, 52))
