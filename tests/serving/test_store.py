from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.samples import SampleSet
from recalign.data.schema import HistoryEntry
from recalign.errors import ArtifactError, DataError
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.serving.database import StoreError
from recalign.serving.store import Event, EventStore, export_events

from .conftest import Start
from .fakes import LONG, catalogue
from .postgresql import PostgreSQL


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[EventStore]:
    with closing(EventStore(tmp_path / "events.sqlite")) as store:
        yield store


def execute(store: EventStore, *statements: str) -> None:
    """Run statements in one transaction, past the store."""
    store._database.write(lambda run: [run.exec_driver_sql(statement) for statement in statements])


def value(store: EventStore, query: str) -> object:
    return store._database.read(lambda run: run.exec_driver_sql(query).scalar())


def like(key: str, item: str, user: str = "u") -> Event:
    return Event(key, user, item, "like")


def test_history_is_the_last_items_oldest_first(store: EventStore) -> None:
    events = [like("k1", "a"), Event("k2", "u", "b", "dislike"), Event("k3", "u", "c", "rating", 4.0)]
    assert store.append([*events, like("k4", "x", user="another")]) == 4
    expected = (HistoryEntry("a", True), HistoryEntry("b", False), HistoryEntry("c", True, 4.0))
    assert store.history("u", 10) == expected
    assert store.history("u", 2) == expected[1:]
    assert store.history("nobody", 10) == ()


def test_the_last_event_about_an_item_counts(store: EventStore) -> None:
    store.append([like("k1", "a"), like("k2", "b"), Event("k3", "u", "a", "rating", 3.5)])
    assert store.history("u", 10) == (HistoryEntry("b", True), HistoryEntry("a", False, 3.5))


def test_the_same_event_again_is_stored_once(store: EventStore) -> None:
    assert store.append([like("k1", "a"), like("k1", "a")]) == 1
    assert store.append([like("k1", "a"), like("k2", "b")]) == 1
    assert len(store.frame()) == 2


def test_a_key_of_another_event_is_refused_and_nothing_is_stored(store: EventStore) -> None:
    store.append([like("k1", "a")])
    with pytest.raises(DataError, match="another event"):
        store.append([like("k2", "b"), like("k1", "c")])
    assert store.history("u", 10) == (HistoryEntry("a", True),)


def test_ratings_need_a_threshold(place: str) -> None:
    store = EventStore(place)
    with pytest.raises(DataError, match="--like-above"):
        store.append([like("k1", "a"), Event("k2", "u", "b", "rating", 4.0)])
    assert store.history("u", 10) == ()
    store.close()


def test_events_cannot_be_changed(store: EventStore) -> None:
    store.append([like("k1", "a")])
    with pytest.raises(StoreError, match="append-only"):
        execute(store, "UPDATE event SET item = 'b'")
    assert store.history("u", 10) == (HistoryEntry("a", True),)


def test_a_user_is_deleted(store: EventStore) -> None:
    store.append([like("k1", "a", "somebody-to-forget"), like("k2", "b", "somebody-else")])
    assert store.forget("somebody-to-forget") == 1
    assert store.forget("somebody-to-forget") == 0
    assert store.history("somebody-to-forget", 10) == ()
    assert store.append([like("k1", "c")]) == 1


def test_a_user_who_is_deleted_is_in_no_file_any_more(sqlite_store: EventStore, tmp_path: Path) -> None:
    store = sqlite_store
    store.append([like("k1", "a", "somebody-to-forget"), like("k2", "b", "somebody-else")])
    assert store.forget("somebody-to-forget") == 1
    assert store.forget("somebody-to-forget") == 0
    assert store.history("somebody-else", 10) == (HistoryEntry("b", True),)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("events.sqlite")]
    assert not [path for path in files if b"somebody-to-forget" in path.read_bytes()]
    assert [path for path in files if b"somebody-else" in path.read_bytes()]


def test_what_was_stored_is_there_when_it_is_opened_again(place: str) -> None:
    store = EventStore(place)
    store.append([like("k1", "a")])
    store.close()
    again = EventStore(place)
    assert again.history("u", 10) == (HistoryEntry("a", True),)
    again.close()


def test_a_file_is_written_safely(sqlite_store: EventStore) -> None:
    names = ("journal_mode", "synchronous", "secure_delete")
    assert [value(sqlite_store, f"PRAGMA {name}") for name in names] == ["wal", 2, 1]


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be none" * 10, None])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "folder" / "events.sqlite"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"events\.sqlite"):
        EventStore(path)


KINDS = st.sampled_from(["like", "dislike"])
EVENTS = st.lists(st.builds(Event, *map(st.sampled_from, ("klmn", "uv", "ab")), KINDS), max_size=12)


@settings(deadline=None)
@given(EVENTS)
def test_history_is_what_a_plain_list_says(events: Sequence[Event]) -> None:
    with closing(EventStore(":memory:")) as store:
        check_history(store, events)


@settings(deadline=None, max_examples=20)
@given(EVENTS)
def test_history_is_what_a_plain_list_says_in_postgresql(postgresql: PostgreSQL, events: Sequence[Event]) -> None:
    with closing(EventStore(postgresql.url())) as store:
        check_history(store, events)


def check_history(store: EventStore, events: Sequence[Event]) -> None:
    kept = dict[str, Event]()
    for event in events:
        if kept.setdefault(event.key, event) == event:
            store.append([event])
        else:
            with pytest.raises(DataError):
                store.append([event])
    for user in "uv":
        last: dict[str, bool] = {}
        for event in kept.values():
            if event.user == user:
                last.pop(event.item, None)
                last[event.item] = event.kind == "like"
        assert store.history(user, 10) == tuple(HistoryEntry(item, liked) for item, liked in last.items())


def test_an_export_is_what_prepare_table_reads(place: str, tmp_path: Path) -> None:
    store = EventStore(place)
    for user in range(12):
        kinds = ["like" if (user + item) % 3 else "dislike" for item in range(1, 13)]
        store.append(
            [Event(f"{user}-{item}", f"user {user}", str(item), kind) for item, kind in enumerate(kinds, start=1)]  # type: ignore[arg-type]
        )
    store.close()
    assert export_events(place, tmp_path / "events.parquet") == 144
    catalogue().write(tmp_path / "items.parquet")
    config = PrepareConfig.build(
        dataset="table",
        input=tmp_path / "events.parquet",
        items=tmp_path / "items.parquet",
        output=tmp_path / "data",
        feedback="binary",
    )
    samples = SampleSet.load(prepare(config))
    assert set(samples.catalog.ids) == set(catalogue().ids)
    assert {sample.user_id for sample in samples.samples()} <= {f"user {user}" for user in range(12)}
    assert pl.read_parquet(tmp_path / "events.parquet").columns == ["user_id", "item_id", "liked", "timestamp"]


def test_nothing_to_export_is_told(place: str, tmp_path: Path) -> None:
    for _ in range(2):  # to ask does not make one
        with pytest.raises(ArtifactError, match="nothing there"):
            export_events(place, tmp_path / "events.parquet")
    assert list(tmp_path.iterdir()) == []
    EventStore(place).close()
    with pytest.raises(DataError, match="no event"):
        export_events(place, tmp_path / "events.parquet")


def test_events_over_http_are_the_history_of_a_user(start: Start, store: EventStore) -> None:
    server = start(store=store)
    events = [
        {"user": "u", "item": "1", "kind": "like", "key": "k1"},
        {"user": "u", "item": "12", "kind": "rating", "value": 1.0, "key": "k2"},
        {"user": "u", "item": "no longer sold", "kind": "like", "key": "k3"},
    ]
    assert server.post("/v1/events", events=events).json == {"stored": 3}
    assert server.post("/v1/events", events=events).json == {"stored": 0}
    by_user = server.post("/v1/recommend", user="u", k=3).json["items"]
    assert by_user == server.post("/v1/recommend", likes=["id:1"], dislikes=["id:12"], k=3).json["items"]
    clash = server.post("/v1/events", events=[{**events[0], "item": "2"}])
    assert (clash.status, "another event" in clash.json["error"]) == (422, True)
    assert server.ask("DELETE", "/v1/events?user=u").json == {"deleted": 3}
    assert server.ask("DELETE", "/v1/events?user=%00").status == 422
    unknown = server.post("/v1/recommend", user="u")
    assert (unknown.status, "no event" in unknown.json["error"]) == (422, True)


@pytest.mark.parametrize(
    "change",
    [{"value": 4.0}, {"kind": "rating"}, {"kind": "rating", "value": float("inf")}, {"kind": "love"}, {"key": ""}],
)
def test_events_that_are_none(start: Start, sqlite_store: EventStore, change: dict[str, object]) -> None:
    event = {"user": "u", "item": "1", "kind": "like", "key": "k", **change}
    assert start(store=sqlite_store).post("/v1/events", events=[event]).status == 422
    assert len(sqlite_store.frame()) == 0


def test_a_store_in_a_url_is_that_in_the_file(tmp_path: Path) -> None:
    with closing(EventStore(f"sqlite:///{tmp_path / 'events.sqlite'}")) as store:
        store.append([like("k1", "a")])
    with closing(EventStore(tmp_path / "events.sqlite", create=False)) as again:
        assert again.history("u", 10) == (HistoryEntry("a", True),)


def test_a_file_of_earlier_versions_is_opened(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)) as earlier:
        earlier.executescript("""
            CREATE TABLE event (
                number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, user TEXT NOT NULL,
                item TEXT NOT NULL, kind TEXT NOT NULL, liked INTEGER NOT NULL, rating REAL, at INTEGER NOT NULL);
            INSERT INTO event (key, user, item, kind, liked, rating, at) VALUES ('k1', 'u', 'a', 'rating', 1, 4.0, 7);
            PRAGMA user_version = 1;""")
    with closing(EventStore(tmp_path / "events.sqlite", like_above=3.5)) as store:
        assert store.append([Event("k1", "u", "a", "rating", 4.0), like("k2", "b")]) == 1
        assert store.history("u", 10) == (HistoryEntry("a", True, 4.0), HistoryEntry("b", True))


def test_events_keep_their_order_and_their_text_in_one_large_request(store: EventStore) -> None:
    events = [like(f"k{number}", f"größe 😀 {number}", "user''%s") for number in range(2_500)]
    assert store.append(events) == len(events)
    assert store.append(events) == 0
    frame = store.frame()
    assert frame["item_id"].to_list() == [event.item for event in events]
    assert frame["user_id"].unique().to_list() == ["user''%s"]
    assert frame["liked"].unique().to_list() == [1]


def test_times_are_whole_microseconds(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_795_675_580_804_551_999)
    store.append([like("k1", "a")])
    assert store.frame()["timestamp"].to_list() == [1_795_675_580_804_551]


@pytest.mark.parametrize("create", [True, False])
def test_a_store_of_another_format_is_refused(place: str, create: bool) -> None:
    sqlite = "://" not in place
    with closing(EventStore(place)) as store:
        execute(store, "PRAGMA user_version = 2" if sqlite else "COMMENT ON TABLE event IS 'recalign events, format 2'")
    with pytest.raises(StoreError, match="found format 2; expected format 1"):
        EventStore(place, create=create)


def test_what_was_deleted_and_is_still_read_is_told(sqlite_store: EventStore, tmp_path: Path) -> None:
    sqlite_store.append([like("k1", "a")])
    with closing(sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM event").fetchone() == (1,)
        sqlite_store._database.read(lambda run: run.exec_driver_sql("PRAGMA busy_timeout = 1"))
        with pytest.raises(StoreError, match="a process that reads it"):
            sqlite_store.forget("u")
    assert sqlite_store.forget("u") == 0
    assert sqlite_store.history("u", 10) == ()


def test_a_table_of_somebody_else_is_left_alone(place: str) -> None:
    with closing(EventStore(place)) as store:
        unmarked = "PRAGMA user_version = 0" if "://" not in place else "COMMENT ON TABLE event IS NULL"
        execute(store, "DROP TABLE event", "CREATE TABLE event (stage TEXT)", unmarked)
        with pytest.raises(StoreError, match="already exists"):
            EventStore(place)
        with pytest.raises(StoreError, match="nothing there"):
            EventStore(place, create=False)
        assert value(store, "SELECT count(stage) FROM event") == 0


RACER = """
import sys
from contextlib import closing
from recalign.serving.store import Event, EventStore
print("ready", flush=True)
sys.stdin.readline()
with closing(EventStore(sys.argv[1])) as store:
    print(sum(store.append([Event(f"k{number}", "u", str(number), "like")]) for number in range(40)))
"""


def test_processes_that_store_the_same_events_at_one_time_store_them_once(place: str) -> None:
    command = [sys.executable, "-W", "error", "-c", RACER, place]
    pipe = subprocess.PIPE
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    stored = [racer.communicate(timeout=LONG)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(map(int, stored)) == 40
    with closing(EventStore(place)) as store:
        assert store.frame()["item_id"].to_list() == [str(number) for number in range(40)]
