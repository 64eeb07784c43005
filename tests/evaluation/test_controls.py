"""Controls change one thing about what is asked, and scorers see the change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.baselines.items import embedding_rows
from recalign.baselines.priors import prior
from recalign.data.catalog import HIDDEN_TITLES, ItemCatalog
from recalign.data.ranking_lists import RankingConfig
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.data.schema import ITEMS
from recalign.errors import ConfigError, DataError
from recalign.evaluation.controls import CONTROLS, controlled, derangement, unseen_titles
from recalign.evaluation.ranking import freeze, load_task, score_task
from recalign.evaluation.score import score_split
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.models.config import BackboneConfig
from recalign.scoring.base import Scorer
from recalign.seeding import generator
from recalign.testing.data import write_sample_set
from recalign.testing.tiny import make_tiny
from recalign.tuning.config import RecStage
from recalign.tuning.model_artifact import load_scorer
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controls")


@pytest.fixture(scope="module")
def data(folder: Path) -> SampleSet:
    """Leave-one-out of 16 users; texts with author and genres, which must not leak."""
    given = {"catalogue": "books", "users": 16, "items": 40, "ratings_per_user": 12, "max_history": 6, "seed": 4}
    text = '"{title}" written by {author}[ ({genres})]'
    prepare(PrepareConfig.build(dataset="synthetic", output=folder / "data", item_text=text, **given))
    return SampleSet.load(folder / "data")


@pytest.fixture(scope="module")
def model(folder: Path, data: SampleSet) -> Path:
    backbone = BackboneConfig(name=str(make_tiny(folder / "llama")), dtype="float32", device="cpu")
    stage = RecStage.model_validate({"max_steps": 1, "batch_size": 4, "precision": "fp32", "max_length": 512})
    return tune_stage(StageInputs(config=stage, backbone=backbone, data=[data]), folder / "model")


Load = Callable[[SampleSet], Scorer]


@pytest.fixture(scope="module")
def load(model: Path) -> Load:
    return lambda data: load_scorer(model, data, device="cpu")


def scores(load: Load, data: SampleSet) -> np.ndarray[Any, Any]:
    return score_split(load(data), data, "test").frame["score"].to_numpy()


def test_everything_but_the_controlled_thing_stays(data: SampleSet) -> None:
    plain = data.frame()
    for control in CONTROLS:
        changed = controlled(data, control, seed=1)
        assert (changed.fingerprint, changed.path, changed.domain) == (data.fingerprint, data.path, data.domain)
        assert changed.catalog.ids == data.catalog.ids
        assert changed.frame().drop("history").equals(plain.drop("history"))
        assert changed.frame("train").equals(data.frame("train"))
        assert changed.frame("test").equals(data.frame("test")) == (control == "masked-titles")
        assert (changed.catalog is data.catalog) == (control != "masked-titles")
        assert data.frame().equals(plain)  # what was given is not changed


def test_a_shuffled_history_has_the_same_entries(data: SampleSet) -> None:
    changed = {each.sample_id: each for each in controlled(data, "shuffled-history", seed=1).samples("test")}
    moved = 0
    for sample in data.samples("test"):
        history = changed[sample.sample_id].history
        assert sorted(history, key=lambda entry: entry.item_id) == sorted(sample.history, key=lambda e: e.item_id)
        moved += history != sample.history
    assert moved > 10


def test_what_came_before_a_history_stays_or_goes_with_it(data: SampleSet) -> None:
    plain = data.samples("test")
    assert max(len(sample.past) - len(sample.history) for sample in plain) > 5
    masked, shuffled, foreign = (
        {each.sample_id: each for each in controlled(data, control, seed=1).samples("test")}
        for control in ("masked-titles", "shuffled-history", "foreign-history")
    )
    pasts = {sample.history: sample.past for sample in plain}
    for sample in plain:
        assert masked[sample.sample_id].past == sample.past
        mixed = shuffled[sample.sample_id]
        assert mixed.past == (*sample.earlier, *mixed.history)
        other = foreign[sample.sample_id]
        assert other.past == pasts[other.history] != sample.past


def test_the_order_belongs_to_the_sample_and_the_seed(tmp_path: Path) -> None:
    history = tuple(HistoryEntry(str(item), item % 2 == 0, float(item)) for item in range(9))
    samples = [Sample(f"s{n}", f"u{n}", "9", 1, history[: n + 1]) for n in range(9)] + [Sample("e", "e", "9", 0, ())]
    titles = {str(item): f"Title {item}" for item in range(10)}
    one = write_sample_set(tmp_path / "one", titles, {"valid": samples[:5], "test": samples[5:]})
    other = write_sample_set(tmp_path / "other", titles, {"test": samples[::-1]})

    def orders(data: SampleSet, seed: int) -> dict[str, tuple[HistoryEntry, ...]]:
        return {each.sample_id: each.history for each in controlled(data, "shuffled-history", seed).samples()}

    assert orders(one, 1) == orders(other, 1)
    assert orders(one, 1) != orders(one, 2)
    assert orders(one, 1)["e"] == ()


def test_a_foreign_history_is_anothers_and_each_is_used_once(folder: Path) -> None:
    given = {
        "users": 30,
        "items": 60,
        "ratings_per_user": 14,
        "max_history": 4,
        "protocol": "temporal",
        "split": "1:1:1",
    }
    data = SampleSet.load(prepare(PrepareConfig.build(dataset="synthetic", output=folder / "temporal", **given)))
    changed = controlled(data, "foreign-history", seed=1)
    for split in ("valid", "test"):
        owners: dict[Any, set[str]] = {}
        for sample in data.samples(split):
            owners.setdefault(sample.history, set()).add(sample.user_id)
        pairs = [(sample.user_id, sample.history) for sample in changed.samples(split)]
        assert len({user for user, _ in pairs}) < len(pairs)  # users with several samples are what is hard
        assert all(owners[history] - {user} for user, history in pairs)
        histories = sorted(str(sample.history) for sample in data.samples(split))
        assert sorted(str(history) for _, history in pairs) == histories
    again, other = (controlled(data, "foreign-history", seed).frame() for seed in (1, 2))
    assert changed.frame().equals(again)
    assert not changed.frame().equals(other)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(0, 99))
def test_derangements_leave_the_group(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    if 2 * max(sizes) > len(groups):
        return
    found = derangement(groups, generator(seed))
    assert sorted(found.tolist()) == list(range(len(groups)))
    assert (groups[found] != groups).all()


def test_derangements_mix_the_groups() -> None:
    groups = np.repeat(np.arange(5), 40)
    found = derangement(groups, generator(0))
    met = [set(groups[found[groups == group]].tolist()) for group in range(5)]
    assert all(len(each) == 4 for each in met)


def test_a_user_with_most_samples_cannot_have_foreign_histories(tmp_path: Path) -> None:
    entry = (HistoryEntry("a", True),)
    samples = [Sample(f"s{n}", "u" if n < 3 else "v", "b", 1, entry) for n in range(5)]
    data = write_sample_set(tmp_path / "data", {"a": "A", "b": "B"}, {"test": samples})
    with pytest.raises(DataError, match=r"foreign-history, split 'test'; found one user with 3 of 5 samples"):
        controlled(data, "foreign-history", seed=0)
    assert len(controlled(data, "shuffled-history", seed=0)) == 5
    assert controlled(data, "foreign-history", seed=0, splits=["valid"]).frame().equals(data.frame())


def test_masked_titles_say_nothing_but_which_item_it_is(data: SampleSet) -> None:
    masked = controlled(data, "masked-titles", seed=1).catalog
    assert sorted(masked.frame["text"]) == sorted(f"Book {number}" for number in range(1, 41))
    assert masked.frame["text"].to_list() != [f"Book {number}" for number in range(1, 41)]
    for name in masked.frame.columns:
        plain = ("item_id", "title", "text", HIDDEN_TITLES)
        assert name in plain or masked.frame[name].null_count() == len(masked)
    assert set(masked.frame.columns) == {*ITEMS, "text", HIDDEN_TITLES}
    again, other = (controlled(data, "masked-titles", seed).catalog.frame["text"] for seed in (1, 2))
    assert masked.frame["text"].equals(again)
    assert not masked.frame["text"].equals(other)


def test_no_score_under_masked_titles_depends_on_a_title(folder: Path, data: SampleSet, load: Load) -> None:
    frame = data.catalog.frame.with_columns(
        (pl.lit("Other ") + pl.col("item_id")).alias("title"), pl.lit("Nobody").alias("author")
    ).with_columns(text=pl.col("title"))
    renamed = SampleSet(data.path, data.manifest, data.frame(), ItemCatalog(frame), data.earlier())
    assert not np.allclose(scores(load, renamed), scores(load, data))
    one, other = (scores(load, controlled(each, "masked-titles", seed=1)) for each in (data, renamed))
    assert np.array_equal(one, other)


def test_a_language_model_sees_every_control(data: SampleSet, load: Load) -> None:
    plain = scores(load, data)
    found = [scores(load, controlled(data, control, seed=1)) for control in CONTROLS]
    for control, changed in zip(CONTROLS, found, strict=True):
        assert (np.abs(changed - plain) > 1e-4).mean() > 0.5, control
    assert not np.allclose(found[0], found[1])


def test_candidates_are_ranked_under_a_control(folder: Path, data: SampleSet, load: Load) -> None:
    freeze(data, RankingConfig(negatives=5), folder / "candidates")
    plain = score_task(load(data), load_task(folder / "candidates", data)).frame
    for control in CONTROLS:
        changed = controlled(data, control, seed=1)
        under = score_task(load(changed), load_task(folder / "candidates", changed)).frame
        assert under.drop("score").select("sample_id", "item_id").equals(plain.select("sample_id", "item_id"))
        assert not np.allclose(under["score"], plain["score"]), control


def test_the_like_rate_sees_a_foreign_history_only(data: SampleSet) -> None:
    plain = score_split(prior("like-rate"), data, "test").frame["score"]
    same = {
        control: score_split(prior("like-rate"), controlled(data, control, seed=1), "test").frame["score"].equals(plain)
        for control in CONTROLS
    }
    assert same == {"shuffled-history": True, "foreign-history": False, "masked-titles": True}


def test_models_of_ids_are_not_touched_by_masks(data: SampleSet) -> None:
    masked = controlled(data, "masked-titles", seed=1)
    assert np.array_equal(embedding_rows(data.catalog.frame, masked.catalog), np.arange(len(data.catalog) + 1))
    for name in ("item-mean", "popularity", "like-rate+item-mean"):
        plain = score_split(prior(name, data), data, "test").frame["score"]
        for changed in (masked, controlled(data, "shuffled-history", seed=1)):
            assert score_split(prior(name, changed), changed, "test").frame["score"].equals(plain)
    foreign = controlled(data, "foreign-history", seed=1)
    plain = score_split(prior("item-mean", data), data, "test").frame["score"]
    assert score_split(prior("item-mean", foreign), foreign, "test").frame["score"].equals(plain)


def test_unknown_controls_are_refused(data: SampleSet) -> None:
    with pytest.raises(ConfigError, match="control 'no-history'; expected shuffled-history, foreign"):
        controlled(data, "no-history", seed=0)


def titled(path: Path, train: list[Sample], titles: dict[str, str]) -> SampleSet:
    return write_sample_set(path, titles, {"train": train})


def test_unseen_titles_are_those_of_no_training_interaction(tmp_path: Path) -> None:
    asked = {
        "1": "Heat (1995)",
        "2": "Matrix, The (1999)",
        "3": "Café Müller",
        "4": "Seven (a.k.a. Se7en) (1995)",
        "5": "Only in a Catalogue",
        "6": "Only in a Test",
        "7": "???",
        "8": "Nowhere",
        "9": "!!!",
    }
    samples = [Sample(f"s{item}", f"u{item}", item, 1, (HistoryEntry("8", True),)) for item in asked]
    target = write_sample_set(tmp_path / "target", asked, {"test": samples})
    one = titled(
        tmp_path / "one", [Sample("a", "u", "x", 0, (HistoryEntry("y", True), HistoryEntry("z", False)))],
        {"x": "Heat", "y": "The Matrix", "z": "cafe muller", "1": "Only in a Catalogue"},
    )  # fmt: skip
    assert unseen_titles(target, "test", []) == {sample.sample_id for sample in samples}
    assert unseen_titles(target, "test", [one]) == {"s4", "s5", "s6", "s7", "s8", "s9"}
    two = write_sample_set(
        tmp_path / "two", {"m": "se7en", "n": "Only in a Test", "o": "???"},
        {"train": [Sample("a", "u", "m", 0, (HistoryEntry("o", True),))], "test": [Sample("b", "u", "n", 0, ())]},
    )  # fmt: skip
    assert unseen_titles(target, "test", [one, two]) == {"s5", "s6", "s8", "s9"}
    assert unseen_titles(target, "test", [one.catalog, two]) == {"s6", "s8", "s9"}
    assert unseen_titles(target, "valid", [one]) == set()
    with pytest.raises(ConfigError, match="split 'tset'"):
        unseen_titles(target, "tset", [one])


def test_an_item_without_a_title_is_told_by_its_text(tmp_path: Path) -> None:
    items = pl.DataFrame(
        [("1", None, None, None, None, "Blue shoe")], schema={**ITEMS, "text": pl.String()}, orient="row"
    )
    data = write_sample_set(tmp_path / "data", {"1": "Red shoe"}, {"test": [Sample("s", "u", "1", 1, ())]})
    assert unseen_titles(data, "test", [ItemCatalog(items)]) == {"s"}
    untitled = SampleSet(data.path, data.manifest, data.frame(), ItemCatalog(items))
    assert unseen_titles(untitled, "test", [ItemCatalog(items)]) == set()
