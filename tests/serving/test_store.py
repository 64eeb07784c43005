from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.samples import SampleSet
from recalign.data.schema import HistoryEntry
from recalign.errors import ArtifactError, DataError
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.serving.store import Event, SqliteStore, export_events

from .conftest import Start
from .fakes import catalogue


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "events.sqlite", like_above=3.5)
    yield store
    store.close()


def like(key: str, item: str, user: str = "u") -> Event:
    return Event(key, user, item, "like")


def test_history_is_the_last_items_oldest_first(store: SqliteStore) -> None:
    events = [like("k1", "a"), Event("k2", "u", "b", "dislike"), Event("k3", "u", "c", "rating", 4.0)]
    assert store.append([*events, like("k4", "x", user="another")]) == 4
    expected = (HistoryEntry("a", True), HistoryEntry("b", False), HistoryEntry("c", True, 4.0))
    assert store.history("u", 10) == expected
    assert store.history("u", 2) == expected[1:]
    assert store.history("nobody", 10) == ()


def test_the_last_event_about_an_item_counts(store: SqliteStore) -> None:
    store.append([like("k1", "a"), like("k2", "b"), Event("k3", "u", "a", "rating", 3.5)])
    assert store.history("u", 10) == (HistoryEntry("b", True), HistoryEntry("a", False, 3.5))


def test_the_same_event_again_is_stored_once(store: SqliteStore) -> None:
    assert store.append([like("k1", "a"), like("k1", "a")]) == 1
    assert store.append([like("k1", "a"), like("k2", "b")]) == 1
    assert len(store.frame()) == 2


def test_a_key_of_another_event_is_refused_and_nothing_is_stored(store: SqliteStore) -> None:
    store.append([like("k1", "a")])
    with pytest.raises(DataError, match="another event"):
        store.append([like("k2", "b"), like("k1", "c")])
    assert store.history("u", 10) == (HistoryEntry("a", True),)


def test_ratings_need_a_threshold(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.sqlite")
    with pytest.raises(DataError, match="--like-above"):
        store.append([like("k1", "a"), Event("k2", "u", "b", "rating", 4.0)])
    assert store.history("u", 10) == ()
    store.close()


def test_events_cannot_be_changed(store: SqliteStore) -> None:
    store.append([like("k1", "a")])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store._connection.execute("UPDATE event SET item = 'b'")


def test_a_user_who_is_deleted_is_in_no_file_any_more(store: SqliteStore, tmp_path: Path) -> None:
    store.append([like("k1", "a", "somebody-to-forget"), like("k2", "b", "somebody-else")])
    assert store.forget("somebody-to-forget") == 1
    assert store.forget("somebody-to-forget") == 0
    assert store.history("somebody-else", 10) == (HistoryEntry("b", True),)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("events.sqlite")]
    assert not [path for path in files if b"somebody-to-forget" in path.read_bytes()]
    assert [path for path in files if b"somebody-else" in path.read_bytes()]


def test_what_was_stored_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.sqlite")
    store.append([like("k1", "a")])
    store.close()
    again = SqliteStore(tmp_path / "events.sqlite")
    assert again.history("u", 10) == (HistoryEntry("a", True),)
    assert again._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    again.close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be none" * 10, None])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "folder" / "events.sqlite"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"events\.sqlite"):
        SqliteStore(path)


KINDS = st.sampled_from(["like", "dislike"])
EVENTS = st.lists(st.builds(Event, *map(st.sampled_from, ("klmn", "uv", "ab")), KINDS), max_size=12)


@settings(deadline=None)
@given(EVENTS)
def test_history_is_what_a_plain_list_says(events: Sequence[Event]) -> None:
    store, kept = SqliteStore(Path(":memory:")), dict[str, Event]()
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
    store.close()


def test_an_export_is_what_prepare_table_reads(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "events.sqlite")
    for user in range(12):
        kinds = ["like" if (user + item) % 3 else "dislike" for item in range(1, 13)]
        store.append(
            [Event(f"{user}-{item}", f"user {user}", str(item), kind) for item, kind in enumerate(kinds, start=1)]  # type: ignore[arg-type]
        )
    store.close()
    assert export_events(tmp_path / "events.sqlite", tmp_path / "events.parquet") == 144
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


def test_nothing_to_export_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing there"):
        export_events(tmp_path / "events.sqlite", tmp_path / "events.parquet")
    assert list(tmp_path.iterdir()) == []
    SqliteStore(tmp_path / "events.sqlite").close()
    with pytest.raises(DataError, match="no event"):
        export_events(tmp_path / "events.sqlite", tmp_path / "events.parquet")


def test_events_over_http_are_the_history_of_a_user(start: Start, store: SqliteStore) -> None:
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
    unknown = server.post("/v1/recommend", user="u")
    assert (unknown.status, "no event" in unknown.json["error"]) == (422, True)


@pytest.mark.parametrize(
    "change",
    [{"value": 4.0}, {"kind": "rating"}, {"kind": "rating", "value": float("inf")}, {"kind": "love"}, {"key": ""}],
)
def test_events_that_are_none(start: Start, store: SqliteStore, change: dict[str, object]) -> None:
    event = {"user": "u", "item": "1", "kind": "like", "key": "k", **change}
    assert start(store=store).post("/v1/events", events=[event]).status == 422
    assert len(store.frame()) == 0
