"""Ranking candidates: only unmet items, seeded, frozen, bound to their data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.data.ranking_lists import (
    RankingConfig,
    RankingList,
    RankingStatistics,
    ranking_candidates,
    read_ranking_candidates,
    write_ranking_candidates,
)
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ArtifactError, ConfigError, DataError
from recalign.testing.data import write_sample_set

TITLES = {f"i{number:02d}": f"Title {number}" for number in range(40)}


def sample(user: str, history: list[int], item: int, label: int, number: int) -> Sample:
    entries = tuple(HistoryEntry(f"i{each:02d}", each % 2 == 0) for each in history)
    return Sample(f"{user}-{number}", user, f"i{item:02d}", label, entries)


SPLITS = {
    "train": [sample("ann", [0, 1], 2, 0, 0), sample("bob", [3], 4, 1, 0)],
    "valid": [sample("ann", [0, 1, 2], 5, 1, 1)],
    "test": [sample("ann", [1, 2, 5], 6, 1, 2), sample("bob", [3, 4], 7, 0, 2), sample("cid", [8], 9, 1, 2)],
}
ANN_MET = {f"i{number:02d}" for number in (0, 1, 2, 5, 6)}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SampleSet]:
    def write(titles: dict[str, str] = TITLES, **config: object) -> SampleSet:
        return write_sample_set(tmp_path / f"data{len(list(tmp_path.iterdir()))}", titles, SPLITS, config=config)

    return write


def by_user(data: SampleSet, **options: object) -> dict[str, RankingList]:
    lists, _ = ranking_candidates(data, RankingConfig.model_validate({"negatives": 20, **options}))
    return {each.user_id: each for each in lists}


def test_every_liked_target_gets_a_list_of_items_its_user_never_met(make: Callable[..., SampleSet]) -> None:
    lists, counts = ranking_candidates(make(), RankingConfig(negatives=20))
    assert [(each.sample_id, each.user_id, each.truth) for each in lists] == [
        ("ann-2", "ann", "i06"),
        ("cid-2", "cid", "i09"),
    ]
    assert counts == RankingStatistics(samples=3, users=3, lists=2, list_users=2, items_per_list=21)
    for each, met in zip(lists, (ANN_MET, {"i08", "i09"}), strict=True):
        assert len(set(each.item_ids)) == len(each.item_ids) == 21
        assert set(each.item_ids) & met == {each.truth}, "met in any split, as target or in a history"
        assert set(each.item_ids) <= set(TITLES)


def test_all_unmet_items_can_be_drawn(make: Callable[..., SampleSet]) -> None:
    assert set(by_user(make(), negatives=35)["ann"].item_ids) == set(TITLES) - ANN_MET | {"i06"}
    with pytest.raises(DataError, match=r"user 'ann' has met nearly all of the 40 .*found 35 others.*at least 36"):
        by_user(make(), negatives=36)


def test_draw_and_place_are_seeded_and_uniform(make: Callable[..., SampleSet]) -> None:
    data = make()
    assert by_user(data, seed=1) == by_user(data, seed=1)
    drawn = [by_user(data, seed=seed)["ann"] for seed in range(400)]
    places = Counter(each.item_ids.index(each.truth) for each in drawn)
    assert len(places) == 21
    assert max(places.values()) < 45  # 19 expected
    items = Counter(item for each in drawn for item in each.item_ids if item != each.truth)
    assert set(items) == set(TITLES) - ANN_MET
    assert max(items.values()) < 290 > 170 < min(items.values()) + 10  # 229 expected


def test_a_list_does_not_depend_on_the_others(tmp_path: Path, make: Callable[..., SampleSet]) -> None:
    alone = write_sample_set(tmp_path / "alone", TITLES, {"test": SPLITS["test"][2:]})
    assert by_user(alone)["cid"] == by_user(make())["cid"]


def test_an_item_with_the_text_of_a_met_one_is_no_negative(make: Callable[..., SampleSet]) -> None:
    twins = {**TITLES, "i30": TITLES["i06"], "i31": TITLES["i01"]}
    assert set(by_user(make(twins), negatives=33)["ann"].item_ids) == set(TITLES) - ANN_MET - {"i30", "i31"} | {"i06"}


def test_sampled_negatives_were_not_met(make: Callable[..., SampleSet]) -> None:
    explicit, implicit = make(), make(feedback={"kind": "implicit"})
    with pytest.raises(DataError):
        by_user(explicit, negatives=36)
    assert "i01" in by_user(implicit, negatives=36)["ann"].item_ids, "a dislike, which nobody met"


def test_wrong_splits_are_one_clear_line(tmp_path: Path, make: Callable[..., SampleSet]) -> None:
    with pytest.raises(ConfigError, match="split 'tset'"):
        by_user(make(), split="tset")
    disliked = write_sample_set(tmp_path / "disliked", TITLES, {"test": SPLITS["test"][1:2]})
    with pytest.raises(DataError, match=r"split 'test' of the data; found no liked target among 1"):
        by_user(disliked)


def test_frozen_lists_are_bound_to_their_data(make: Callable[..., SampleSet], tmp_path: Path) -> None:
    data, config = make(), RankingConfig(negatives=20)
    lists, counts = ranking_candidates(data, config)
    manifest = write_ranking_candidates(tmp_path / "lists", lists, counts, config, parent=data.fingerprint)
    assert read_ranking_candidates(tmp_path / "lists", data) == (lists, manifest)
    assert manifest.info["statistics"]["lists"] == 2
    again = write_ranking_candidates(tmp_path / "again", lists, counts, config, parent=data.fingerprint)
    assert again.fingerprint == manifest.fingerprint
    other = make({**TITLES, "new": "New"})
    with pytest.raises(ArtifactError, match=r"found candidates of data .*recalign candidates"):
        read_ranking_candidates(tmp_path / "lists", other)
    stored = tmp_path / "lists" / "candidates.parquet"
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        read_ranking_candidates(tmp_path / "lists", data)


@pytest.mark.real_data
def test_leave_one_out_of_movielens_100k_has_485_liked_targets(real_data: Path, tmp_path: Path) -> None:
    from recalign.experiment.prepare import PrepareConfig, prepare

    settings = {"dataset": "movielens-100k", "input": real_data / "ml-100k", "protocol": "leave-one-out"}
    prepare(PrepareConfig.build(**settings, output=tmp_path / "data", max_rendered=1))
    lists, counts = ranking_candidates(SampleSet.load(tmp_path / "data"), RankingConfig())
    assert (counts.samples, counts.users, counts.lists, counts.list_users) == (943, 943, 485, 485)
    assert all(len(set(each.item_ids)) == 51 for each in lists)
