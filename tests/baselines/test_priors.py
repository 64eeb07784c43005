"""Priors: their definitions by hand, what they may learn from, and the published figures."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from recalign.baselines.priors import NEEDS_FIT, ItemStatistics, prior, prior_name, train_interactions
from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.testing.contracts import ScorerContract
from recalign.testing.data import write_sample_set

TITLES = {"1": "Heat (1995)", "2": "Alien, The (1979)", "3": "Same Name", "4": "Same Name", "5": "Never Met"}


def history(*pairs: tuple[str, bool]) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(item, liked) for item, liked in pairs)


def source(path: Path, **options: object) -> SampleSet:
    """Train interactions: 1 liked by a, b, c and not by d; 2 disliked by a; 3 liked by b; 4 disliked by c."""
    samples = {
        "train": [
            Sample("t1", "a", "1", 1, history(("2", False))),
            Sample("t2", "b", "1", 1, history(("3", True))),
            Sample("t3", "c", "1", 1, history(("4", False))),
            Sample("t4", "d", "1", 0, ()),
        ],
        "valid": [Sample("v1", "b", "2", 1, history(("3", True), ("1", True)))],
        "test": [Sample("e1", "c", "5", 1, history(("2", True)))],
    }
    return write_sample_set(path, TITLES, samples, **options)  # type: ignore[arg-type]


@pytest.fixture
def fit(tmp_path: Path) -> SampleSet:
    return source(tmp_path / "source")


def one(scorer: object, entries: tuple[HistoryEntry, ...], *items: str) -> np.ndarray:
    return scorer.score([CandidateList("u", entries, items)]).values[0]  # type: ignore[attr-defined, no-any-return]


def test_interactions_are_distinct_pairs_of_train_targets_and_histories(fit: SampleSet) -> None:
    rows = sorted(train_interactions(fit).rows())
    assert rows == [
        ("a", "1", 1.0),
        ("a", "2", 0.0),
        ("b", "1", 1.0),
        ("b", "3", 1.0),
        ("c", "1", 1.0),
        ("c", "4", 0.0),
        ("d", "1", 0.0),
    ]  # nothing from validation or test: 2 liked by b and c, and 5, are not there


def test_repeated_windows_do_not_weigh_and_a_changed_mind_counts_half(tmp_path: Path) -> None:
    twice = [Sample(f"s{i}", "u", "2", 1, history(("1", True))) for i in range(3)]
    changed = Sample("s9", "u", "3", 1, history(("1", False)))
    fit = write_sample_set(tmp_path / "d", TITLES, {"train": [*twice, changed]})
    assert sorted(train_interactions(fit).rows()) == [("u", "1", 0.5), ("u", "2", 1.0), ("u", "3", 1.0)]


def test_like_rate_is_the_log_odds_of_the_squeezed_share() -> None:
    entries = history(("1", True), ("2", True), ("3", False), ("4", False), ("5", False))
    expected = math.log(4.5 / 6.5)  # (10 * 0.4 + 0.5) / 11 = 4.5 / 11
    assert one(prior("like-rate"), entries, "1", "2") == pytest.approx([expected, expected])
    assert one(prior("like-rate"), (), "1") == [0.0]


def test_like_rate_keeps_the_order_of_shares_and_their_ties() -> None:
    def score(liked: int, n: int) -> float:
        return float(one(prior("like-rate"), history(*((str(i), i < liked) for i in range(n))), "x")[0])

    by_share = sorted({(k / n): (k, n) for n in range(1, 60) for k in range(n + 1)}.items())
    values = [score(k, n) for _, (k, n) in by_share]
    assert all(low < high for low, high in itertools.pairwise(values))
    assert score(3, 10) == score(6, 20)
    assert score(3, 3) == score(10, 10)
    assert all(0.04 < expit(value) < 0.96 for value in values)


def test_item_mean_by_hand(fit: SampleSet) -> None:
    g = 4.5 / 8  # four of seven liked, half a like and half a dislike added
    expected = {"1": (3 + 5 * g) / 9, "2": 5 * g / 6, "3": (1 + 5 * g) / 6, "4": 5 * g / 6, "5": g}
    scores = one(prior("item-mean", fit), (), *expected)
    assert expit(scores) == pytest.approx(list(expected.values()))


def test_popularity_counts_users(fit: SampleSet) -> None:
    assert one(prior("popularity", fit), (), "1", "2", "3", "5").tolist() == [4, 1, 1, 0]


def test_popularity_of_implicit_feedback_does_not_count_sampled_negatives(tmp_path: Path) -> None:
    fit = source(tmp_path / "implicit", config={"feedback": {"kind": "implicit"}})
    assert one(prior("popularity", fit), (), "1", "2", "3").tolist() == [3, 0, 1]


def test_the_sum_is_share_plus_mean_and_no_log_odds(fit: SampleSet) -> None:
    entries = history(("2", True), ("3", False), ("4", False), ("5", False))
    both = prior("like-rate+item-mean", fit)
    assert one(both, entries, "1", "5") == pytest.approx([0.25 + (3 + 5 * 4.5 / 8) / 9, 0.25 + 4.5 / 8])
    assert not both.log_odds


def test_another_dataset_is_joined_by_normalised_title(fit: SampleSet, tmp_path: Path) -> None:
    titles = {"1": "ALIEN, the  (1979)", "x": "heat (1995)", "2": "Heat (1986)", "y": "same name", "z": "???"}
    target = write_sample_set(tmp_path / "target", titles, {"test": [Sample("s", "u", "x", 1, ())]})
    found = ItemStatistics(fit).look_up(target.catalog)
    assert found["x"] == (3.0, 4.0)
    assert found["1"] == (0.0, 1.0)  # id 1 is another film there: the title decides
    assert found["2"] == (0.0, 0.0)  # a remake is another film
    assert found["y"] == (1.0, 2.0)  # both items of that name, pooled
    assert found["z"] == (0.0, 0.0)


def test_within_a_dataset_ids_decide_between_equal_titles(fit: SampleSet) -> None:
    found = ItemStatistics(fit).look_up(fit.catalog)
    assert (found["3"], found["4"]) == ((1.0, 1.0), (0.0, 1.0))


def test_items_without_a_readable_title_are_never_joined(tmp_path: Path) -> None:
    fit = write_sample_set(tmp_path / "a", {"1": "???"}, {"train": [Sample("s", "u", "1", 1, ())]})
    other = write_sample_set(tmp_path / "b", {"2": "!!!"}, {"train": [Sample("s", "u", "2", 1, ())]})
    assert ItemStatistics(fit).look_up(other.catalog) == {"2": (0.0, 0.0)}
    assert ItemStatistics(fit).look_up(fit.catalog) == {"1": (1.0, 1.0)}


def test_all_labels_alike_stay_finite(tmp_path: Path) -> None:
    fit = write_sample_set(tmp_path / "a", TITLES, {"train": [Sample("s", "u", "1", 1, ())]})
    assert np.isfinite(one(prior("item-mean", fit), (), *TITLES)).all()


def test_an_unknown_prior_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown prior 'likerate'.*Did you mean prior:like-rate"):
        prior_name("prior:likerate")
    with pytest.raises(ConfigError, match="expected prior:like-rate, prior:item-mean"):
        prior_name("prior:xyzzy")
    assert prior_name("prior:item-mean") == prior_name("item-mean") == "item-mean"


@pytest.mark.parametrize("name", [name for name, needs in NEEDS_FIT.items() if needs])
def test_a_missing_fit_is_an_error(name: str, fit: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to learn from.*--fit DIR"):
        prior(name)
    with pytest.raises(ConfigError, match="catalogue"):
        prior(name, ItemStatistics(fit))
    untrained = write_sample_set(tmp_path / "t", TITLES, {"test": [Sample("s", "u", "1", 1, ())]})
    with pytest.raises(DataError, match=r"--fit.*no train samples"):
        prior(name, untrained)


def test_an_item_outside_of_the_catalogue_is_an_error(fit: SampleSet) -> None:
    for name in ("item-mean", "popularity", "like-rate+item-mean"):
        with pytest.raises(DataError, match="item 'nope' is not in the catalogue"):
            one(prior(name, fit), (), "nope")


class TestContract(ScorerContract):
    @pytest.fixture(params=list(NEEDS_FIT))
    def scorer(self, request: pytest.FixtureRequest, fit: SampleSet) -> object:
        return prior(request.param, fit)

    @pytest.fixture
    def lists(self) -> list[CandidateList]:
        return [
            CandidateList("a", history(("2", False)), ("1", "3", "5", "2")),
            CandidateList("b", history(("3", True), ("2", True), ("4", False)), ("1", "4")),
            CandidateList("c", (), ("5",)),
        ]
