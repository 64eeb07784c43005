from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.bulk.histories import NO_EVENT, NO_KNOWN_ITEM, NO_TIME
from recalign.bulk.lists import NOT_ASKED, NOTHING_LEFT
from recalign.bulk.request import Request, Share
from recalign.bulk.score import score_users
from recalign.data.parsing.fields import PLACEHOLDERS
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.data.source import SourceOptions
from recalign.errors import ArtifactError, ConfigError, DataError, Interrupted, ModelError
from recalign.recommendation import UNSEEN_USER
from recalign.recommender import Recommender, Selection
from recalign.retrieval.base import Filters
from recalign.retrieval.index import build_index
from recalign.scoring.base import Scores

from .conftest import ITEM_IDS, MODEL, Hashed, Score, all_scores, contents, small_catalogue, some_events


def write(path: Path, rows: list[tuple[object, ...]], *columns: str) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\n", encoding="utf-8")
    return path


def rejects(directory: Path) -> dict[str, str]:
    lines = [line for path in directory.glob("rejects-*.jsonl") for line in path.read_text("utf-8").splitlines()]
    return {row["user_id"]: row["reason"] for row in map(json.loads, lines)}


def test_each_user_has_what_the_recommender_ranks_for_them(
    score: Score, recommender: Recommender, tmp_path: Path
) -> None:
    rows = [("ann", "i1", 1, 10), ("bob", "i2", 0, 30), ("bob", "i1", 1, 20), ("ann", "i1", 0, 40)]
    done = score(write(tmp_path / "e.csv", rows, "user_id", "item_id", "liked", "timestamp"), tmp_path / "out", k=3)
    assert (done.users, done.rows, done.rejected_users, done.missing) == (2, 6, 0, ())
    scores = all_scores(tmp_path / "out")
    assert scores.columns == ["user_id", "rank", "item_id", "score", "probability"]
    # Ann's later opinion of i1 counts; Bob's history is in the order of time.
    histories = {"ann": [HistoryEntry("i1", False)], "bob": [HistoryEntry("i1", True), HistoryEntry("i2", False)]}
    for user, history in histories.items():
        expected = [(item.rank, item.item_id, item.score, item.probability) for item in recommender.rank(history, 3)]
        assert scores.filter(user_id=user).drop("user_id").rows() == expected


def test_the_index_adds_the_shards_up(score: Score, table: Path, tmp_path: Path) -> None:
    done = score(table, tmp_path / "out", k=2)
    index = json.loads((tmp_path / "out" / "scores.json").read_bytes())
    assert (index["shards"], index["users"], index["rows"]) == (5, 60, 120) == (5, done.users, done.rows)
    assert index["counts"]["events"] == 240
    assert sorted(index["files"]) == sorted(
        name for name in contents(tmp_path / "out") if name[-5] != "." and "-0" in name
    )
    assert not list((tmp_path / "out").glob(".*"))
    assert all_scores(tmp_path / "out")["user_id"].value_counts()["count"].unique().to_list() == [2]


def test_a_retriever_and_filters_choose_as_in_a_recommendation(score: Score, table: Path, tmp_path: Path) -> None:
    catalog = small_catalogue()
    by = Recommender(Hashed(), catalog, index=build_index(catalog))
    selection = Selection(Filters(only=frozenset({("genres", "odd")}), without=frozenset({"i3"})), retrieve=4)
    score(table, tmp_path / "out", by=by, selection=selection, k=2)
    seen = some_events(60).filter(user_id="u7").sort("timestamp")
    scores = all_scores(tmp_path / "out")
    assert set(scores["item_id"]) <= {"i1", "i5", "i7", "i9", "i11"}
    assert not set(scores.filter(user_id="u7")["item_id"]) & set(seen["item_id"])
    settings = json.loads((tmp_path / "out" / "job.json").read_bytes())["settings"]
    assert (settings["retrieve"], settings["without"]) == (4, ["i3"])


def test_what_is_older_than_the_history_does_not_come_back(
    score: Score, recommender: Recommender, tmp_path: Path
) -> None:
    rows = [("ann", item, 1, place) for place, item in enumerate(ITEM_IDS[:9])]
    table = write(tmp_path / "e.csv", rows, "user_id", "item_id", "liked", "timestamp")
    score(table, tmp_path / "out", max_history=2)
    history = [HistoryEntry("i7", True), HistoryEntry("i8", True)]
    expected = [item.item_id for item in recommender.rank(history, candidates=["i9", "i10", "i11"])]
    assert all_scores(tmp_path / "out")["item_id"].to_list() == expected


def test_pairs_get_the_scores_of_the_scorer(score: Score, recommender: Recommender, tmp_path: Path) -> None:
    events = [("ann", "i1", 5), ("bob", "i2", 1), ("eve", "gone", 5), ("joe", "i3", 5)]
    table = write(tmp_path / "e.csv", events, "user_id", "item_id", "rating")
    pairs = [("ann", "i10"), ("ann", "i9"), ("ann", "i9"), ("ann", "gone"), ("bob", "i1"), ("dan", "i1"), ("eve", "i1")]
    pairs.append(("joe", "gone"))
    pairs_table = write(tmp_path / "p.csv", pairs, "user_id", "item_id")
    done = score(table, tmp_path / "out", pairs=pairs_table, like_above=3)
    expected: dict[tuple[str, str], float] = {}
    for user, liked, own, items in (("ann", True, "i1", ("i9", "i10")), ("bob", False, "i2", ("i1",))):
        asked = CandidateList(UNSEEN_USER, (HistoryEntry(own, liked),), items)
        (values,) = recommender.scorer.score([asked]).values
        expected |= {(user, item): value for item, value in zip(items, values, strict=True)}
    scores = all_scores(tmp_path / "out")
    assert scores.columns == ["user_id", "item_id", "score", "probability"]
    assert {(user, item): value for user, item, value, _ in scores.iter_rows()} == expected
    assert len(scores) == len(expected) == done.rows
    assert rejects(tmp_path / "out") == {"dan": NO_EVENT, "eve": NO_KNOWN_ITEM, "joe": NOT_ASKED}
    counts = json.loads((tmp_path / "out" / "scores.json").read_bytes())["counts"]
    assert (counts["pairs"], counts["pairs_of_unknown_items"], counts["repeated_pairs"]) == (8, 2, 1)


def test_unknown_items_are_counted_and_users_with_nothing_left_are_listed(score: Score, tmp_path: Path) -> None:
    rows = [("ann", "i1", 1), ("ann", "gone", 2), ("bob", "gone", 3), ("eve", "i1", ""), ("", "i1", 4)]
    rows += [("all", item, 9) for item in ITEM_IDS]
    score(write(tmp_path / "e.csv", rows, "user_id", "item_id", "timestamp"), tmp_path / "out")
    index = json.loads((tmp_path / "out" / "scores.json").read_bytes())
    assert index["users"] == 1
    assert index["rejected_users"] == 3
    assert index["counts"] == {"events": 16, "of_unknown_items": 2, "without_time": 1, "repeated": 0}
    assert index["rejected_rows"] == {"missing user id": 1}
    assert rejects(tmp_path / "out") == {"bob": NO_KNOWN_ITEM, "eve": NO_TIME, "all": NOTHING_LEFT}
    (row,) = (tmp_path / "out" / "rejected-rows.jsonl").read_text("utf-8").splitlines()
    assert json.loads(row)["line"] == 6


def test_a_rerun_makes_what_is_missing_and_asks_no_scorer_for_the_rest(
    score: Score, table: Path, tmp_path: Path
) -> None:
    by = Recommender(scorer := Hashed(), small_catalogue())
    score(table, tmp_path / "out", by=by)
    before, calls = contents(tmp_path / "out"), scorer.calls
    for name in ("part-00003.json", "scores.json"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"torn")
    score(table, tmp_path / "out", by=by)
    assert (contents(tmp_path / "out"), scorer.calls) == (before, calls + 2)
    score(table, tmp_path / "out", by=by)
    assert scorer.calls == calls + 2


def test_shares_part_the_shards(score: Score, table: Path, tmp_path: Path) -> None:
    score(table, tmp_path / "whole")
    first = score(table, tmp_path / "out", share=Share(0, 3))
    assert first.missing == (1, 2, 4)
    assert sorted(path.name for path in (tmp_path / "out").glob("part-*.json")) == [
        "part-00000.json",
        "part-00003.json",
    ]
    assert score(table, tmp_path / "out", share=Share(1, 3)).missing == (2,)
    assert not (tmp_path / "out" / "scores.json").exists()
    last = score(table, tmp_path / "out", share=Share.parse("2/3"))
    assert last.missing == ()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert score(table, tmp_path / "out", share=Share(7, 9)).users == 0  # more workers than shards


@pytest.mark.parametrize("text", ["3/3", "0/0", "1", "a/b", "-1/2", "1/2/3"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="expected I/N"):
        Share.parse(text)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"k": 3}, "another setting k"),
        ({"shards": 4}, "another setting shards"),
        ({"max_history": 2}, "another setting max_history"),
        ({"selection": Selection(Filters(exclude_seen=False))}, "another setting exclude_seen"),
        ({"model": {"model": "b" * 64}}, "another model"),
    ],
)
def test_an_output_of_something_else_is_refused(
    score: Score, table: Path, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    score(table, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ArtifactError, match=f"{named}.*--restart"):
        score(table, tmp_path / "out", **change)
    assert contents(tmp_path / "out") == before


def test_changed_input_is_refused_until_restart(score: Score, table: Path, tmp_path: Path) -> None:
    score(table, tmp_path / "out", share=Share(0, 2))
    some_events(50).write_parquet(table)
    with pytest.raises(ArtifactError, match="found another input"):
        score(table, tmp_path / "out")
    score(table, tmp_path / "out", restart=True, share=Share(1, 2))
    score(table, tmp_path / "out", restart=True, share=Share(0, 2))  # the same job: it keeps what is there
    score(table, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_directory_with_other_files_is_left_alone(score: Score, table: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ArtifactError, match="is taken"):
        score(table, tmp_path, restart=True)
    assert not (tmp_path / "job.json").exists()


def test_a_signal_leaves_whole_shards_and_says_how_to_go_on(score: Score, table: Path, tmp_path: Path) -> None:
    score(table, tmp_path / "whole")
    signals: list[int] = []

    def stop_later(done: int, total: int) -> None:
        if done > total / 2:
            signals.append(signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"stopped with [1-4] of 5 shards made.*same command again") as stop:
        score(table, tmp_path / "out", signals=signals, progress=stop_later)
    assert stop.value.signal_number == signal.SIGTERM
    there = contents(tmp_path / "out")
    whole = contents(tmp_path / "whole")
    assert there.items() <= whole.items()
    assert len([name for name in there if name.endswith(".parquet")]) in range(1, 5)
    score(table, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


def test_progress_ends_at_the_total(score: Score, table: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    score(table, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 60)
    assert told[-1] == (60, 60)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


class _Waiting(Hashed):
    """Waits in its first call until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def score(self, lists: object) -> Scores:
        self.asked.set()
        assert self.go_on.wait(30)
        return super().score(lists)  # type: ignore[arg-type]


def test_two_workers_share_the_shards_and_make_one_output(score: Score, table: Path, tmp_path: Path) -> None:
    score(table, tmp_path / "whole")
    slow, fast = _Waiting(), Hashed()
    worker = threading.Thread(
        target=score, args=(table, tmp_path / "out"), kwargs={"by": Recommender(slow, small_catalogue())}
    )
    worker.start()
    assert slow.asked.wait(30)  # it is at the first shard

    def let_go(done: int, total: int) -> None:
        if done > total / 2:
            slow.go_on.set()

    score(table, tmp_path / "out", by=Recommender(fast, small_catalogue()), progress=let_go)
    worker.join(30)
    assert slow.calls + fast.calls == 5
    assert slow.calls >= 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_shard_without_users_is_there_too(score: Score, tmp_path: Path) -> None:
    table = write(tmp_path / "e.csv", [("ann", "i1")], "user_id", "item_id")
    score(table, tmp_path / "out")
    parts = [pl.read_parquet(path) for path in (tmp_path / "out").glob("part-*.parquet")]
    assert len(parts) == 5
    assert len({tuple(part.schema.items()) for part in parts}) == 1


def test_part_files_and_formats_give_the_same_scores(score: Score, table: Path, tmp_path: Path) -> None:
    events = pl.read_parquet(table)
    (tmp_path / "parts").mkdir()
    for number in range(3):
        events[number::3].write_ndjson(tmp_path / "parts" / f"part-{number}.jsonl")
    names = {"user_id": "customer", "item_id": "sku", "timestamp": "at"}
    events.rename(names).write_csv(tmp_path / "mine.csv", separator=";")
    score(table, tmp_path / "a")
    score(tmp_path / "parts", tmp_path / "b")
    score(tmp_path / "mine.csv", tmp_path / "c", source=SourceOptions(columns=names))
    assert _tables(tmp_path / "a") == _tables(tmp_path / "b") == _tables(tmp_path / "c")


def _tables(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(directory).items() if name.endswith((".parquet", ".jsonl"))}


_HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text.lower() not in PLACEHOLDERS
)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_the_order_of_the_input_changes_no_byte_of_the_tables(
    data: st.DataObject, recommender: Recommender, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = data.draw(st.lists(_HOSTILE, min_size=1, max_size=6, unique=True))
    event = st.tuples(
        st.sampled_from(names), st.sampled_from((*ITEM_IDS[:5], "gone")), st.integers(0, 1), st.integers(1, 4)
    )
    rows = data.draw(st.lists(event, min_size=1, max_size=20))
    folder = tmp_path_factory.mktemp("orders")
    outputs = []
    for name, order in (("a", rows), ("b", data.draw(st.permutations(rows)))):
        frame = pl.DataFrame(order, schema=["user_id", "item_id", "liked", "timestamp"], orient="row")
        frame.write_parquet(folder / f"{name}.parquet")
        try:
            score_users(recommender, Request(folder / f"{name}.parquet", shards=2), folder / name, model=MODEL)
        except DataError as error:
            outputs.append({"error": error.found.encode()})
        else:
            outputs.append(_tables(folder / name))
            users = all_scores(folder / name)["user_id"].unique().to_list()
            assert sorted([*users, *rejects(folder / name)]) == sorted({row[0] for row in rows})
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "user", ["a\x00b", "\x1b[31mred", "x" * 100_000, "線\u202e路", "../../etc", '"quoted", \n two', "%s{0}"]
)
def test_hostile_user_ids_come_back_as_they_were(score: Score, tmp_path: Path, user: str) -> None:
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": [user, user, "bob"], "item_id": ["i1", "i2", "gone"]}).write_parquet(path)
    score(path, tmp_path / "out", k=1)
    assert all_scores(tmp_path / "out")["user_id"].to_list() == [user]
    assert rejects(tmp_path / "out") == {"bob": NO_KNOWN_ITEM}


def test_long_lists_are_scored_in_several_calls(
    score: Score, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(table, tmp_path / "whole")
    monkeypatch.setattr("recalign.bulk.lists.BATCH_ITEMS", 5)
    by = Recommender(scorer := Hashed(), small_catalogue())
    score(table, tmp_path / "out", by=by)
    assert scorer.calls >= 120
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("user_id", "item_id", "rating"), {}, "no --like-above"),
        (("user_id", "item_id", "liked"), {"like_above": 3.5}, "found likes; expected ratings"),
        (("user_id", "item_id"), {"like_above": 3.5}, "events without ratings; expected ratings"),
        (("user_id", "item_id"), {"shards": 0}, "shards; found 0"),
        (("user_id", "item_id"), {"k": 0}, "k; found 0"),
        (("user_id", "item_id"), {"pairs": Path("p.csv"), "k": 3}, "scores of given pairs"),
        (("user_id", "item_id"), {"selection": Selection(diversity=0.5)}, "diversity; found no index"),
    ],
)
def test_settings_that_do_not_fit(
    score: Score, tmp_path: Path, columns: tuple[str, ...], options: dict[str, object], message: str
) -> None:
    table = write(tmp_path / "e.csv", [("ann", "i1", 1)[: len(columns)]], *columns)
    with pytest.raises(ConfigError, match=message):
        score(table, tmp_path / "out", **options)


def test_a_table_that_is_missing_or_has_no_usable_row(score: Score, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing there; expected a table of users"):
        score(tmp_path / "none.csv", tmp_path / "out")
    with pytest.raises(DataError, match=r"no usable event.*missing user id \(1\)"):
        score(write(tmp_path / "e.csv", [("", "i1")], "user_id", "item_id"), tmp_path / "out")


def test_a_score_that_is_no_number_is_no_score(score: Score, table: Path, tmp_path: Path) -> None:
    class Broken(Hashed):
        def score(self, lists: object) -> Scores:
            return Scores(tuple(values * np.nan for values in super().score(lists).values))  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="a finite number"):
        score(table, tmp_path / "out", by=Recommender(Broken(), small_catalogue()))
    assert not list((tmp_path / "out").glob("part-*"))


def test_an_order_has_no_probability(score: Score, table: Path, tmp_path: Path) -> None:
    scorer = Hashed()
    scorer.log_odds = False
    score(table, tmp_path / "out", by=Recommender(scorer, small_catalogue()))
    scores = all_scores(tmp_path / "out")
    assert scores["probability"].null_count() == len(scores) > 400
