"""Results that need no server: those of the models, and nothing that names a user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.recommendation import near_ties
from recalign.recommender import Recommender
from recalign.serving.data import NO_AUDIT, DataBeside
from recalign.serving.results import NamedHistory, compute_results, user_histories
from recalign.testing.data import write_sample_set

from .fakes import FakeScorer, catalogue, films

HISTORY = NamedHistory("somebody", (HistoryEntry("3", True), HistoryEntry("1", False), HistoryEntry("2", True)))


def test_lists_and_reasons_are_those_of_the_models(data: SampleSet, model: Recommender) -> None:
    models = DataBeside.of(data, model).beside({"fake": model})
    heard: list[tuple[int, int]] = []
    histories = [HISTORY, *user_histories(data, 2)]
    results = compute_results(models, histories, NO_AUDIT, k=4, progress=lambda *done: heard.append(done))
    assert list(results.lists) == list(models)
    for name, recommender in models.items():
        for history, shown in zip(histories, results.lists[name], strict=True):
            expected = recommender.explain(history.entries, recommender.rank(history.entries, 4))
            assert shown.near_ties == near_ties(expected)
            assert [item.item_id for item in shown.items] == [item.item_id for item in expected]
            for item, told in zip(shown.items, expected, strict=True):
                assert (item.title, item.score) == (told.title, pytest.approx(told.score, rel=1e-5, abs=1e-6))
                assert item.probability == (told.probability and pytest.approx(told.probability, rel=1e-5))
                effects = {influence.item_id: influence.effect for influence in told.influences}
                assert item.effects == pytest.approx([effects[entry.item_id] for entry in history.entries], abs=1e-6)
    assert heard == [(done, len(models) * 3) for done in range(1, len(models) * 3 + 1)]


def test_no_user_is_named(data: SampleSet, model: Recommender) -> None:
    beside = DataBeside.of(data, model)
    assert "person-" in beside.audit.model_dump_json()  # in the findings, which are for those who have the data
    results = compute_results({"fake": model}, user_histories(data, 100), beside.audit)
    assert [history.name for history in results.histories] == [f"user {number}" for number in range(1, 7)]
    assert "person-" not in results.model_dump_json()
    told = [(finding.code, finding.message, finding.count) for finding in beside.audit.findings]
    assert [(finding.code, finding.message, finding.count) for finding in results.audit.findings] == told


def test_users_are_as_many_as_asked_for_and_always_the_same(data: SampleSet) -> None:
    assert user_histories(data, 3) == user_histories(data, 6)[:3]


def test_histories_are_those_of_the_test_split_without_repeats(data: SampleSet) -> None:
    known = [sample.history for sample in data.samples("test")]
    for history in user_histories(data, 6):
        items = [entry.item_id for entry in history.entries]
        assert len(set(items)) == len(items)
        assert any(set(history.entries) <= set(entries) for entries in known)


def test_of_two_who_said_the_same_the_page_has_one(tmp_path: Path, data: SampleSet) -> None:
    (entries,) = {sample.history for sample in data.samples("test")[:1]}
    rated = tuple(HistoryEntry(entry.item_id, entry.liked, 5.0) for entry in entries)
    samples = [Sample(user, user, "12", 1, history) for user, history in (("a", entries), ("b", rated))]
    titles = {item: data.catalog.title(item) for item in data.catalog.ids}
    assert len(user_histories(write_sample_set(tmp_path / "twice", titles, {"test": samples}), 2)) == 1


def long_past(directory: Path, titles: Mapping[str, str], rating: float | None, kind: str) -> SampleSet:
    """Data of one test user who met items 1 to 6, of which the history shows the last two."""
    config = {"protocol": {"name": "temporal", "version": 1}, "feedback": {"kind": kind, "like_above": 3.0}}
    past = [HistoryEntry(str(item), item % 2 == 0, rating) for item in range(1, 7)]
    train = [Sample(f"t{item}", "another", item, 1, (HistoryEntry("1", True, rating),)) for item in titles]
    test = [Sample("q", "person", "7", 1, tuple(past[4:]), earlier=tuple(past[:4]))]
    return write_sample_set(directory, titles, {"train": train[1:], "test": test}, config=config)


def test_nothing_that_a_user_met_before_the_question_is_recommended(tmp_path: Path, model: Recommender) -> None:
    titles = {item: model.catalog.title(item) for item in model.catalog.ids}
    titles["8"] = titles["1"]  # the very same text as an item from before the history
    data = long_past(tmp_path / "long", titles, 4.0, "explicit")
    fake = Recommender(FakeScorer(), data.catalog)
    results = compute_results(DataBeside.of(data, fake).beside({"fake": fake}), user_histories(data, 1), NO_AUDIT, k=12)
    assert len(results.lists) > 1
    for name, (shown,) in results.lists.items():
        assert {item.item_id for item in shown.items} == {"7", "9", "10", "11", "12"}, name
        assert {len(item.effects) for item in shown.items} == {2}, name
    (history,) = results.histories
    assert [entry.item_id for entry in history.entries] == ["5", "6"]
    assert history.note == "The last 2 of 6 ratings. None of the 6 is recommended."


def test_what_nobody_met_can_be_recommended(tmp_path: Path, data: SampleSet) -> None:
    titles = {item: data.catalog.title(item) for item in data.catalog.ids}
    sampled = long_past(tmp_path / "events", titles, None, "implicit")
    (history,) = user_histories(sampled, 1)
    assert [entry.item_id for entry in history.earlier] == ["2", "4"]  # odd items are dislikes, which were drawn
    assert history.note == "The last 1 of 3 events. None of the 3 is recommended."
    assert [history.note for history in user_histories(data, 6)] == [""] * 6  # nothing is earlier than the history


def test_somebody_who_met_everything_has_an_empty_list(data: SampleSet, model: Recommender) -> None:
    everything = tuple(HistoryEntry(item, True) for item in data.catalog.ids)
    sated = NamedHistory("sated", everything[-2:], everything[:-2])
    results = compute_results({"fake": model}, [sated, HISTORY], NO_AUDIT)
    assert [len(shown.items) for shown in results.lists["fake"]] == [0, 9]
    with pytest.raises(DataError, match="no item that these people have not met"):
        compute_results({"fake": model}, [sated], NO_AUDIT)


def test_without_test_users_there_is_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = films(tmp_path_factory.mktemp("nobody") / "films", users=0)
    with pytest.raises(DataError, match="no test user with a history"):
        user_histories(empty, 3)


def test_models_of_two_catalogues_do_not_go_into_one_page(model: Recommender) -> None:
    other = Recommender(FakeScorer(), catalogue(2))
    with pytest.raises(ConfigError, match=r"model other.*another catalogue than that of fake.*--data"):
        compute_results({"fake": model, "other": other}, [HISTORY], NO_AUDIT)
