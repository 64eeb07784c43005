"""User filtering by hand, and what it may not see."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.data.teacher_candidates import (
    CandidateConfig,
    CandidateStatistics,
    user_filtering,
)
from recalign.errors import ConfigError, DataError
from recalign.testing.data import write_sample_set

ITEMS = {item: f"Title {item}" for item in "abcdefghijklmnop"}


def sample(user: str, history: str, item: str, label: int = 1, number: int = 0) -> Sample:
    entries = tuple(HistoryEntry(each, True) for each in history)
    return Sample(f"{user}{number}", user, item, label, entries)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SampleSet]:
    def write(rows: Sequence[Sample], **config: object) -> SampleSet:
        number = sum(1 for _ in tmp_path.iterdir())
        return write_sample_set(tmp_path / str(number), ITEMS, {"train": rows}, config=config)

    return write


# ann is asked about; bob shares a, b with her, cid a, dan nothing.
OTHERS = (sample("bob", "abc", "d", 0), sample("cid", "ae", "f", 0), sample("dan", "gh", "i", 0))


def sets_of(samples: SampleSet, **options: object) -> dict[str, set[str]]:
    sets, _ = user_filtering(samples, CandidateConfig.model_validate(options))
    return {each.sample_id: set(each.item_ids) for each in sets}


def test_the_set_by_hand(make: Callable[..., SampleSet]) -> None:
    data = make([sample("ann", "ab", "e"), *OTHERS])
    sets, statistics = user_filtering(data, CandidateConfig())
    [only] = sets
    assert only.sample_id == "ann0"
    assert set(only.item_ids) == set("cdef"), "own items excluded; dan shares nothing and has no vote"
    assert statistics == CandidateStatistics(considered=1, kept=1, truth_not_in_set=0, mean_size=4.0, hit_chance=1.0)
    # cosines: bob 2/√(2·4), cid 1/√(2·3): the two items of bob come first
    assert sets_of(data, size=2) == {}, "e is not among the first two"
    assert sets_of(data, size=3) == {"ann0": set("cde")}
    assert sets_of(data, similar_users=1) == {}


def test_the_own_truth_and_the_own_future_have_no_influence(make: Callable[..., SampleSet]) -> None:
    later = sample("ann", "abe", "c", number=1)
    plain = sets_of(make([sample("ann", "ab", "e"), *OTHERS]))["ann0"]
    assert sets_of(make([sample("ann", "ab", "e"), later, *OTHERS]))["ann0"] == plain == set("cdef")
    for truth in "cdf":  # another truth, the same set
        assert sets_of(make([sample("ann", "ab", truth), *OTHERS]))["ann0"] == plain
    outside = make([sample("ann", "ab", "i"), *OTHERS])
    sets, statistics = user_filtering(outside, CandidateConfig())
    assert sets == []
    assert (statistics.considered, statistics.kept, statistics.truth_not_in_set) == (1, 0, 1)
    assert statistics.hit_chance is statistics.mean_size is None


def test_what_the_user_met_before_the_window_is_excluded(make: Callable[..., SampleSet]) -> None:
    data = make([sample("ann", "d", "a", 0, 0), sample("ann", "ab", "e", 1, 1), *OTHERS])
    assert sets_of(data) == {"ann1": set("cef")}


def test_sampled_negatives_are_no_interactions(make: Callable[..., SampleSet]) -> None:
    rows = [sample("ann", "ab", "e"), sample("bob", "abc", "e"), sample("bob", "abc", "k", 0, 1)]
    assert sets_of(make(rows))["ann0"] == set("cek")
    assert sets_of(make(rows, feedback={"kind": "implicit"}))["ann0"] == set("ce")


def test_only_the_named_split_is_read(tmp_path: Path) -> None:
    splits = {"train": [sample("ann", "ab", "e"), *OTHERS], "test": [sample("eve", "ab", "p")]}
    assert sets_of(write_sample_set(tmp_path / "data", ITEMS, splits)) == {"ann0": set("cdef")}


def many(users: int = 40) -> list[Sample]:
    names = list(ITEMS)
    return [
        sample(f"u{u}", "".join(names[(u * s + 3 * j) % 16] for j in range(4)), names[(u + 5 * s) % 16], 1, s)
        for u in range(users)
        for s in range(1, 4)
    ]


def test_blocks_and_the_samples_asked_for_change_nothing(make: Callable[..., SampleSet]) -> None:
    data = make(many())
    config = CandidateConfig(similar_users=3, size=6, seed=4)
    whole, statistics = user_filtering(data, config)
    assert 0 < statistics.kept < statistics.considered == 120
    assert user_filtering(data, config, block=7) == (whole, statistics)
    part, drawn = user_filtering(data, config.model_copy(update={"limit": 30}))
    assert drawn.considered == 30
    assert len(part) > 0
    assert [each for each in whole if each.sample_id in {one.sample_id for one in part}] == part, (
        "same sets, same order"
    )


def test_the_seed_decides_the_order_and_the_draw(make: Callable[..., SampleSet]) -> None:
    data = make(many())
    first, second = (user_filtering(data, CandidateConfig(seed=seed))[0] for seed in (0, 1))
    assert [set(each.item_ids) for each in first] == [set(each.item_ids) for each in second]
    assert first != second
    limited = [user_filtering(data, CandidateConfig(seed=seed, limit=20))[0] for seed in (0, 1)]
    assert {each.sample_id for each in limited[0]} != {each.sample_id for each in limited[1]}


def test_the_truth_stands_anywhere(make: Callable[..., SampleSet]) -> None:
    data = make(many())
    truth = {each.sample_id: each.item_id for each in data.samples("train")}
    places = [each.item_ids.index(truth[each.sample_id]) for each in user_filtering(data, CandidateConfig())[0]]
    assert len(set(places)) > 3


def test_wrong_requests_are_one_clear_line(make: Callable[..., SampleSet]) -> None:
    data = make(OTHERS)
    with pytest.raises(DataError, match=r"split 'train' of the data; found no liked target among 3"):
        user_filtering(data, CandidateConfig())
    with pytest.raises(ConfigError, match="split 'tran'"):
        user_filtering(data, CandidateConfig(split="tran"))
    with pytest.raises(ValidationError):
        CandidateConfig(similarity="jaccard")  # type: ignore[arg-type]


@pytest.mark.real_data
def test_ten_thousand_real_samples_take_seconds(real_data: Path, tmp_path: Path) -> None:
    from recalign.experiment.prepare import PrepareConfig, prepare

    settings = {"dataset": "movielens", "input": real_data / "ml-latest-small", "protocol": "leave-one-out"}
    prepare(PrepareConfig.build(**settings, output=tmp_path / "data", max_rendered=1))
    data = SampleSet.load(tmp_path / "data")
    start = time.process_time()
    _, statistics = user_filtering(data, CandidateConfig(limit=10_000))
    assert time.process_time() - start < 10
    assert (statistics.considered, statistics.kept) == (10_000, 1_642)
    assert statistics.hit_chance == pytest.approx(10 / 19)
