from __future__ import annotations

import sys
import traceback
from pathlib import Path

import pytest

from recalign.errors import ConfigError
from recalign.serving.database import Database, StoreError
from recalign.serving.run import ServeConfig

SECRET = "not-to-be-shown"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://u:{}@host/db", "found mysql; expected sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
        ("mysql+pymysql://u:{}@host/db", "found mysql+pymysql"),
        ("postgres://u:{}@host/db", "found postgres;"),
        ("postgresql+asyncpg://u:{}@host/db", "found postgresql+asyncpg"),
        ("sqlite+aiosqlite:///{}", "found sqlite+aiosqlite"),
        ("sqlite://{}/events.sqlite", "a host or options"),
        ("sqlite://u:{}@/events.sqlite", "a host or options"),
        ("sqlite:///events.sqlite?mode={}", "a host or options"),
        ("postgresql://u:p@{}@host/db", "%40"),
        ("postgresql://u:p@ss/{}@host/db", "%40"),
        ("postgresql://u:p@{}:x@host/db", "%40"),
        ("postgresql://u@host:{}/db", "something else"),
        ("://{}", "something else"),
    ],
)
def test_urls_that_are_refused_are_not_shown(url: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Database(url.format(SECRET))
    assert word in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_database_that_does_not_answer(driver: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"u:\*\*\*@127.0.0.1:1/db; found .*refused.*a PostgreSQL database") as caught:
        Database(f"{driver}://u:{SECRET}@127.0.0.1:1/db?sslpassword={SECRET}")
    assert "\n" not in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_postgresql_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'recalign\[postgres\]'"):
        Database("postgresql://host/db")


def test_a_configuration_does_not_show_its_store() -> None:
    assert SECRET not in repr(ServeConfig(store=f"postgresql://u:{SECRET}@host/db"))


def test_a_path_may_look_like_anything(tmp_path: Path) -> None:
    for name in ("a@b@c.sqlite", "100%41?x=#.sqlite"):
        Database(str(tmp_path / name)).close()
        assert (tmp_path / name).is_file()
