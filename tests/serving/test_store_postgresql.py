"""What only PostgreSQL does: other processes in the middle of a request, lost connections, passwords."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import product

import pytest
from sqlalchemy.engine import Connection

from recalign.data.schema import HistoryEntry
from recalign.errors import DataError
from recalign.serving.database import StoreError
from recalign.serving.store import Event, EventStore

from .conftest import Start
from .fakes import LONG
from .postgresql import PASSWORD, PostgreSQL

LIKE = Event("k", "u", "a", "like")
INSERT = "INSERT INTO event (key, \"user\", item, kind, liked, at) VALUES ('k', 'u', '{item}', 'like', true, 1)"


@pytest.fixture
def url(postgresql: PostgreSQL) -> str:
    return postgresql.url()


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    with closing(EventStore(url)) as store:
        yield store


class InBackground:
    """Work in a thread, and what came of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work, self._result = work, list[object]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:
            self._result.append(error)

    def wait_until_it_waits(self, run: Connection) -> None:
        """Wait until PostgreSQL has it wait for a lock, of whatever kind."""
        pause = threading.Event()
        for _ in range(int(LONG / 0.01)):
            assert self._thread.is_alive(), self._result
            if run.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar():
                return
            pause.wait(0.01)
        pytest.fail("it never waited")

    def result(self) -> object:
        self._thread.join(LONG)
        (result,) = self._result
        return result


@pytest.mark.parametrize(("item", "commit"), list(product("ab", (True, False))))
def test_a_key_that_another_process_is_just_storing(store: EventStore, url: str, item: str, commit: bool) -> None:
    with closing(EventStore(url)) as other:
        with other._database._engine.connect() as run:
            run.exec_driver_sql(INSERT.format(item=item))
            append = InBackground(lambda: store.append([Event("before", "u", "b", "like"), LIKE]))
            append.wait_until_it_waits(run)
            run.commit() if commit else run.rollback()
        stored = append.result()
        if commit and item == "b":
            assert isinstance(stored, DataError)
            assert "another event" in str(stored)
        else:
            assert stored == (1 if commit else 2)
        keys = {("b", True): ["b"], ("a", True): ["a", "b"]}.get((item, commit), ["b", "a"])
        assert other.frame()["item_id"].to_list() == keys


def test_a_store_that_another_process_is_just_creating(store: EventStore, url: str) -> None:
    with store._database._engine.begin() as run:
        run.exec_driver_sql("DROP TABLE event")
        run.exec_driver_sql("DROP FUNCTION event_append_only")
    with store._database._engine.connect() as run:
        store._database._create(run)
        opening = InBackground(lambda: EventStore(url))
        opening.wait_until_it_waits(run)
        run.commit()
    opened = opening.result()
    assert isinstance(opened, EventStore)
    with closing(opened):
        assert opened.append([LIKE]) == 1


@pytest.mark.parametrize("state", ["deadlock_detected", "serialization_failure"])
@pytest.mark.parametrize(("failures", "attempts"), [(2, 3), (100, 5)])
def test_what_the_database_undid_is_done_again(store: EventStore, state: str, failures: int, attempts: int) -> None:
    def fail_at_first(run: Connection) -> None:
        run.exec_driver_sql("CREATE SEQUENCE attempt")  # sequences count what is undone, too
        run.exec_driver_sql(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('attempt') <= {failures} THEN RAISE EXCEPTION 'in the way' USING ERRCODE = '{state}'; END IF; "
            "RETURN NEW; END $$"
        )
        run.exec_driver_sql("CREATE TRIGGER fail BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION fail()")

    store._database.write(fail_at_first)
    if failures < attempts:
        assert store.append([LIKE]) == 1
    else:
        with pytest.raises(StoreError, match="in the way"):
            store.append([LIKE])
    assert store._database.read(lambda run: run.exec_driver_sql("SELECT last_value FROM attempt").scalar()) == attempts
    assert len(store.frame()) == int(failures < attempts)


def test_a_failure_of_another_kind_is_not_repeated(store: EventStore) -> None:
    calls: list[int] = []

    def fail(run: Connection) -> None:
        calls.append(1)
        run.exec_driver_sql("SELECT 1 / 0")

    with pytest.raises(StoreError, match="division by zero"):
        store._database.write(fail)
    assert calls == [1]


def test_the_isolation_is_not_that_of_the_database(url: str) -> None:
    # With another one, an event that is just being stored would fail instead of being found.
    with closing(EventStore(url + "%20-cdefault_transaction_isolation%3Dserializable")) as store:
        isolation = store._database.write(lambda run: run.exec_driver_sql("SHOW transaction_isolation").scalar())
        assert isolation == "read committed"


def test_a_writer_waits_for_a_lock_for_a_limited_time(store: EventStore) -> None:
    assert store._database.write(lambda run: run.exec_driver_sql("SHOW lock_timeout").scalar()) == "10s"
    assert store._database.read(lambda run: run.exec_driver_sql("SHOW lock_timeout").scalar()) == "0"


def test_a_reader_of_a_store_needs_no_right_to_write(store: EventStore, url: str) -> None:
    store.append([LIKE])
    with closing(EventStore(url + "%20-cdefault_transaction_read_only%3Don")) as reader:
        assert reader.history("u", 10) == (HistoryEntry("a", True),)
        with pytest.raises(StoreError, match="read-only"):
            reader.append([Event("k2", "u", "b", "like")])


@pytest.mark.parametrize("breaks", ["on the way", "between requests"])
def test_a_lost_connection_is_made_anew(store: EventStore, breaks: str) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid {} pg_backend_pid() AND usename = 'tester'"
    store.append([LIKE])
    if breaks == "on the way":
        with pytest.raises(StoreError, match="terminat"):
            store._database.write(lambda run: run.exec_driver_sql(cut.format("=")))
    else:
        with closing(EventStore(store_url(store))) as other:
            other._database.read(lambda run: run.exec_driver_sql(cut.format("<>")).all())
    assert store.history("u", 10) == (HistoryEntry("a", True),)


def store_url(store: EventStore) -> str:
    return store._database._engine.url.render_as_string(hide_password=False)


def test_a_server_lives_on_when_its_database_dies(
    start: Start, store: EventStore, postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(store=store)
    events = [{"user": "u", "item": "1", "kind": "like", "key": "k"}]
    assert server.post("/v1/events", events=events).json == {"stored": 1}
    postgresql.kill()
    try:
        with caplog.at_level(logging.INFO):
            answers = [server.post("/v1/events", events=events), server.post("/v1/recommend", user="u")]
            answers.append(server.ask("DELETE", "/v1/events?user=u"))
        assert server.post("/v1/recommend", likes=["id:1"]).status == 200
    finally:
        postgresql.start()
    assert [(answer.status, answer.headers["retry-after"]) for answer in answers] == [(503, "1")] * 3
    assert {answer.json["error"] for answer in answers} == {
        "the store of events cannot be used now; the server's log says why"
    }
    lines = [record.getMessage() for record in caplog.records]
    assert all(line.startswith("store postgresql+psycopg://tester:***@") and "\n" not in line for line in lines)
    assert len(lines) == 3
    assert PASSWORD not in caplog.text
    assert server.post("/v1/events", events=events).json == {"stored": 0}
    assert server.post("/v1/recommend", user="u", k=3).status == 200


def test_a_password_is_in_no_error(postgresql: PostgreSQL, url: str) -> None:
    wrong = "a-wrong-secret"
    refused = url.replace(PASSWORD, wrong)
    as_option = url.replace(f":{PASSWORD}", "") + f"&password={wrong}"
    with_typo = url + "&passwrod=" + wrong
    for bad in (refused, as_option, with_typo, url.replace("/postgres?", "/nowhere?")):
        with pytest.raises(StoreError, match=r"tester(:\*\*\*)?@") as caught:
            EventStore(bad)
        told = "".join(traceback.format_exception(caught.value))
        assert "psycopg" in told
        assert wrong not in told
        assert PASSWORD not in told
        assert "\n" not in str(caught.value)


def test_what_users_did_is_in_no_error(store: EventStore) -> None:
    somebody = "-".join(["a", "person"])  # the traceback quotes this file
    with pytest.raises(StoreError, match="NUL") as caught:
        store.append([Event(somebody, somebody, somebody + "\0", "like")])
    assert somebody not in "".join(traceback.format_exception(caught.value))
