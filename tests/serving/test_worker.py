from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.data.samples import CandidateList, HistoryEntry
from recalign.serving.queue import DeadlinePassed, Unavailable
from recalign.serving.worker import DIED, STUCK, Limits, ModelThread, score_together

from .fakes import LONG, Clock, FakeScorer, value_of

ITEMS = st.lists(st.sampled_from("456"), min_size=1, max_size=3)


@pytest.fixture
def scorer() -> FakeScorer:
    return FakeScorer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def thread(scorer: FakeScorer, clock: Clock) -> Iterator[ModelThread]:
    thread = ModelThread({"m": scorer}, clock=clock)
    thread.start()
    yield thread
    scorer.gate.set()
    thread.close(LONG)


def one(item: str) -> list[CandidateList]:
    return [CandidateList("u", (), (item,))]


def test_what_came_while_it_was_busy_is_one_call_of_the_scorer(thread: ModelThread, scorer: FakeScorer) -> None:
    scorer.gate.clear()
    first = thread.submit("m", one("1"), 9.0)
    scorer.wait_until_asked()
    others = [thread.submit("m", one(str(n)), 9.0) for n in range(2, 34)]
    scorer.gate.set()
    assert [float(future.result(LONG)[0][0]) for future in (first, *others)] == [0.01 * n for n in range(1, 34)]
    assert [sum(len(asked.item_ids) for asked in lists) for lists in scorer.asked] == [1, 32]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("123"), ITEMS), max_size=8))
def test_one_history_is_read_once(asked: list[tuple[str, list[str]]]) -> None:
    scorer = FakeScorer()
    lists = [CandidateList("u", (HistoryEntry(liked, True),), tuple(items)) for liked, items in asked]
    scores = score_together(scorer, lists)
    for own, values in zip(lists, scores, strict=True):
        assert values.tolist() == [value_of(own, item) for item in own.item_ids]
    (merged,) = scorer.asked
    assert len(merged) == len({liked for liked, _ in asked})


def test_a_scorer_that_raises_fails_its_own_batch_only(thread: ModelThread, scorer: FakeScorer) -> None:
    scorer.gate.clear()
    failing = thread.submit("m", one("1"), 9.0)
    scorer.wait_until_asked()
    later = thread.submit("m", one("2"), 9.0)
    scorer.raises = ValueError("broken")
    scorer.gate.set()
    with pytest.raises(ValueError, match="broken"):
        failing.result(LONG)
    with pytest.raises(ValueError, match="broken"):
        later.result(LONG)
    scorer.raises = None
    assert thread.submit("m", one("3"), 9.0).result(LONG)
    assert thread.trouble is None


def test_expired_and_cancelled_work_never_reaches_the_scorer(
    thread: ModelThread, scorer: FakeScorer, clock: Clock
) -> None:
    scorer.gate.clear()
    busy = thread.submit("m", one("1"), 9.0)
    scorer.wait_until_asked()
    expired, cancelled, kept = (thread.submit("m", one(str(n)), 1.0 if n == 2 else 9.0) for n in (2, 3, 4))
    clock.now = 1.0
    assert cancelled.cancel()
    scorer.gate.set()
    assert busy.result(LONG)
    assert kept.result(LONG)
    with pytest.raises(DeadlinePassed):
        expired.result(LONG)
    assert scorer.asked_items == ["1", "4"]
    assert thread.cost == 0


def test_a_stuck_thread_is_in_trouble_until_it_goes_on(thread: ModelThread, scorer: FakeScorer, clock: Clock) -> None:
    scorer.gate.clear()
    work = thread.submit("m", one("1"), 99.0)
    scorer.wait_until_asked()
    clock.now = 1.9
    assert thread.trouble is None
    clock.now = 2.0
    assert thread.trouble == STUCK
    scorer.gate.set()
    assert work.result(LONG)
    thread.close(LONG)
    clock.now = 99.0
    assert thread.trouble == DIED  # that is: it ended


def test_a_scorer_that_tells_its_progress_is_not_stuck(clock: Clock) -> None:
    class Telling(FakeScorer):
        progress = None

        def score(self, lists):  # type: ignore[no-untyped-def]
            for second in range(1, 10):
                clock.now = 1.5 * second
                self.progress(second, 10)  # type: ignore[misc]
                troubles.append(thread.trouble)
            return super().score(lists)

    troubles: list[str | None] = []
    thread = ModelThread({"m": Telling()}, clock=clock)
    thread.start()
    assert thread.submit("m", one("1"), 99.0).result(LONG)
    assert troubles == [None] * 9
    thread.close(LONG)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_fails_all_that_waits_and_all_that_comes(thread: ModelThread, scorer: FakeScorer) -> None:
    scorer.gate.clear()
    scorer.raises = SystemExit("what no batch survives")
    waiting = [thread.submit("m", one("1"), 9.0)]
    scorer.wait_until_asked()
    waiting.append(thread.submit("m", one("2"), 9.0))
    scorer.gate.set()
    for future in waiting:
        with pytest.raises(Unavailable, match=DIED):
            future.result(LONG)
    with pytest.raises(Unavailable, match=DIED):
        thread.submit("m", one("3"), 9.0)
    thread._thread.join(LONG)
    assert thread.trouble == DIED


def test_closing_finishes_what_was_accepted(scorer: FakeScorer) -> None:
    thread = ModelThread({"m": scorer})
    futures = [thread.submit("m", one(str(n)), 1e12) for n in range(1, 4)]
    thread.start()
    thread.close(LONG)
    assert [float(future.result(0)[0][0]) for future in futures] == [0.01, 0.02, 0.03]
    with pytest.raises(Unavailable):
        thread.submit("m", one("1"), 1e12)


def test_closing_does_not_wait_for_ever_for_a_stuck_scorer(thread: ModelThread, scorer: FakeScorer) -> None:
    scorer.gate.clear()
    stuck = thread.submit("m", one("1"), 9.0)
    scorer.wait_until_asked()
    thread.close(timeout=0.01)
    with pytest.raises(Unavailable):
        stuck.result(0)


def test_batches_are_counted(scorer: FakeScorer) -> None:
    seen: list[int] = []
    thread = ModelThread({"m": scorer}, Limits(batch=2), on_batch=lambda candidates, _seconds: seen.append(candidates))
    futures = [thread.submit("m", one(str(n)), 1e12) for n in range(1, 4)]
    thread.start()
    for future in futures:
        future.result(LONG)
    thread.close(LONG)
    assert seen == [2, 1]
