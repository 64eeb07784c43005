"""The priors beside a model: what they learn from, that as data, and the published figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.artifacts import write_directory
from recalign.baselines.priors import ItemStatistics
from recalign.data.catalog import ItemCatalog
from recalign.data.feedback import FeedbackConfig
from recalign.data.readers.movielens import read_movielens
from recalign.data.readers.movielens_100k import read_movielens_100k
from recalign.data.sample_table import write_samples
from recalign.data.samples import ITEMS_FILE, KIND, SampleSet
from recalign.data.source import SourceData, SourceOptions
from recalign.data.splitting import SplitConfig, make_table, plan, resolve_protocol
from recalign.errors import ConfigError, DataError
from recalign.evaluation import priors, sentences
from recalign.evaluation.document import Learned, RecentWeights
from recalign.evaluation.priors import Fold, prior_rows, priors_for
from recalign.evaluation.references import reference_rows
from recalign.evaluation.rows import TestSettings, measure_row

from .conftest import samples

LIKES = FeedbackConfig(kind="explicit", like_above=3.0)


def test_priors_learn_from_fit_else_from_the_own_train_split_else_not(
    make: Callable[..., SampleSet], data: SampleSet
) -> None:
    bare = make(test=samples("e", 5, 3))
    own, given, none = priors_for(data), priors_for(bare, data), priors_for(bare)
    every = [
        *("prior:like-rate", "prior:item-mean", "prior:popularity", "prior:like-rate+item-mean"),
        *("prior:recent", "prior:recent+item-mean"),
    ]
    assert [scorer.name for scorer in own.scorers] == [scorer.name for scorer in given.scorers] == every
    assert [scorer.name for scorer in none.scorers] == ["prior:like-rate"]
    assert own.interactions == given.interactions
    assert own.interactions is not None
    assert own.interactions > 0
    assert none.interactions is None
    assert own.pick("item-mean").name == "prior:item-mean"
    with pytest.raises(ConfigError, match=r"nothing to learn from.*--fit DIR"):
        none.pick("item-mean")
    with pytest.raises(DataError, match="no train samples"):
        priors_for(data, bare)


def test_what_several_folds_learn_from_is_counted_once(
    make: Callable[..., SampleSet], data: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[SampleSet] = []

    class Counting(ItemStatistics):
        def __init__(self, fit: SampleSet) -> None:
            counted.append(fit)
            super().__init__(fit)

    monkeypatch.setattr(priors, "ItemStatistics", Counting)
    priors_for(data)
    prior_rows([Fold(data), Fold(make(test=samples("e", 5, 3)), data)], "test")
    assert counted == [data]


def test_what_they_learned_from_is_data_and_its_sentence_is_made_from_it(
    make: Callable[..., SampleSet], data: SampleSet
) -> None:
    bare = make(test=samples("e", 5, 3))
    count = priors_for(data).interactions
    assert count is not None
    learned = [prior_rows([fold], "test", fit_name=name)[1] for fold, name in
               ((Fold(data), ""), (Fold(bare, data), "movies"), (Fold(bare), ""))]  # fmt: skip
    recent = learned[0].recent
    assert learned == [
        Learned(interactions=(count,), recent=recent), Learned(fit="movies", interactions=(count,), recent=recent),
        Learned(),
    ]  # fmt: skip
    assert "train split of the evaluated data itself" in sentences.learned(learned[0])
    assert "train split of data set movies" in sentences.learned(learned[1])
    assert "left out" in sentences.learned(learned[2])
    two = Learned(interactions=(1321, 7))
    assert "from 1,321, 7 interactions" in sentences.learned(two)
    assert "(2 parts)" in sentences.learned(two)


def test_how_the_recent_priors_weigh_is_data_and_a_sentence(make: Callable[..., SampleSet], data: SampleSet) -> None:
    chosen = ItemStatistics(data).recency
    untried = make(train=samples("t", 20, 0), test=samples("e", 5, 3))

    def told(data: SampleSet, fit: SampleSet | None = None, split: str = "test") -> tuple[RecentWeights, str]:
        learned = prior_rows([Fold(data, fit)], split)[1]
        return learned.recent[0], sentences.learned(learned)

    for fit, split in ((None, "test"), (data, "test")):
        weights, text = told(data, fit, split)
        assert weights == RecentWeights.of(chosen)
        assert f"w = {chosen.weight:g}, chosen on the validation split of the same data." in text
    weights, text = told(untried, data, "test")
    assert weights == RecentWeights.of(chosen), "of the data that they learn from"
    for data_, fit, split, why in (
        (untried, None, "test", "no samples in its validation split"),
        (data, None, "valid", "its validation split is what is scored"),
        (data, data, "valid", "its validation split is what is scored"),
    ):
        weights, text = told(data_, fit, split)
        assert weights == RecentWeights(decay=6.0, weight=1.0, reason=why)
        assert f"with h = 6 and w = 1, by default ({why})." in text
    several = Learned(
        interactions=(1, 2), recent=(RecentWeights(decay=None, weight=2), RecentWeights(decay=6, weight=1))
    )
    assert "h = ∞, 6 and w = 2, 1, chosen" in sentences.learned(several)
    assert RecentWeights.model_validate_json(several.recent[0].model_dump_json()) == several.recent[0]


def test_rows_of_priors_are_pooled_over_the_folds(make: Callable[..., SampleSet], data: SampleSet) -> None:
    other = make(train=samples("t", 20, 5), test=samples("f", 20, 6))
    rows, _ = prior_rows([Fold(data), Fold(other)], "test")
    for scored in rows:
        assert scored.row.kind == "prior"
        (frame,) = scored.scores.samples
        assert frame["sample_id"].to_list() == [*data.frame("test")["sample_id"], *other.frame("test")["sample_id"]]
    rate = rows[0].scores
    assert rate.no_temperature == "there are no validation samples", "of the second fold"
    assert rate.samples[0]["temperature"].null_count() == other.frame("test").height


def prepared(directory: Path, data: SourceData, name: str) -> SampleSet:
    """A prepared directory without its renderings."""
    protocol = resolve_protocol(name, data.interactions)
    samples = make_table(data.interactions, protocol, plan(protocol, SplitConfig(), LIKES), LIKES)
    with write_directory(directory, KIND, config={"feedback": LIKES.model_dump()}) as staging:
        write_samples(staging, samples)
        ItemCatalog.from_items(data.items, "{title}").write(staging / ITEMS_FILE)
    return SampleSet.load(directory)


@pytest.fixture(scope="module")
def source(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    data = read_movielens(real_data / "ml-latest-small", SourceOptions())
    return prepared(tmp_path_factory.mktemp("source") / "data", data, "leave-one-out")


@pytest.fixture(scope="module")
def target(real_data: Path) -> SourceData:
    return read_movielens_100k(real_data / "ml-100k", SourceOptions())


def figures(data: SampleSet, fit: SampleSet) -> dict[str, tuple[float | None, float | None]]:
    rows, _ = prior_rows([Fold(data, fit)], "test")
    measured = [measure_row(each.row, each.scores, TestSettings(resamples=1)) for each in rows]
    return {row.model: (row.mean("auc"), row.mean("gauc")) for row in measured}


@pytest.mark.real_data
def test_published_figures_of_the_priors_on_the_movie_test(
    source: SampleSet, target: SourceData, tmp_path: Path
) -> None:
    data = prepared(tmp_path / "movie", target, "tallrec")
    assert (data.frame("test").height, data.frame("test")["user_id"].n_unique()) == (1000, 16)
    found = figures(data, source)
    assert found["prior:like-rate"] == (pytest.approx(0.7260, abs=5e-5), pytest.approx(0.541, abs=5e-4))
    assert found["prior:item-mean"] == (pytest.approx(0.678, abs=1e-3), pytest.approx(0.690, abs=1e-3))
    assert found["prior:like-rate+item-mean"][0] == pytest.approx(0.764, abs=1e-3)
    assert found["prior:recent+item-mean"][0] == pytest.approx(0.781, abs=1e-3)


@pytest.mark.real_data
def test_published_figures_of_the_priors_on_leave_one_out(
    source: SampleSet, target: SourceData, tmp_path: Path
) -> None:
    data = prepared(tmp_path / "loo", target, "leave-one-out")
    assert data.frame("test").height == data.frame("test")["user_id"].n_unique() == 943
    found = figures(data, source)
    assert found["prior:like-rate"] == (pytest.approx(0.754, abs=1e-3), None)
    assert found["prior:item-mean"][0] == pytest.approx(0.664, abs=1e-3)
    assert found["prior:like-rate+item-mean"][0] == pytest.approx(0.7795, abs=1e-3)
    assert found["prior:recent+item-mean"][0] == pytest.approx(0.784, abs=1e-3)


@pytest.mark.real_data
def test_figures_within_users(source: SampleSet, target: SourceData, tmp_path: Path) -> None:
    data = prepared(tmp_path / "leave-n-out", target, "leave-n-out")
    assert data.frame("test").height == 10 * 943
    found = figures(data, source)
    for name, auc, gauc in (
        ("like-rate", 0.6476, 0.5),
        ("item-mean", 0.6823, 0.6278),
        ("like-rate+item-mean", 0.7067, 0.6278),
        ("recent+item-mean", 0.7226, 0.6278),
    ):
        assert found[f"prior:{name}"] == (pytest.approx(auc, abs=1e-3), pytest.approx(gauc, abs=1e-3))
    (scored,), _ = reference_rows([Fold(data)], "test", ["mf"])
    row = measure_row(scored.row, scored.scores, TestSettings(resamples=1))
    assert row.mean("auc") == pytest.approx(0.761, abs=1e-3)
    assert row.mean("gauc") == pytest.approx(0.7015, abs=1e-3)
