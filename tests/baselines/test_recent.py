"""The prior over the whole past: by hand, where its weights come from, and what changes no score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.baselines.priors import ItemStatistics, prior
from recalign.baselines.recent import DECAYS, WEIGHTS, Recency, RecentPrior, choose_recency, recent_means
from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.errors import DataError
from recalign.metrics.classification import auc
from recalign.scoring.base import sample_lists
from recalign.testing.data import write_sample_set

MEANS = {"a": 0.5, "b": 0.25, "c": 0.75, "d": 0.1}


def entries(*pairs: tuple[str, bool]) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(item, liked) for item, liked in pairs)


def test_it_is_the_weighted_mean_surprise_by_hand() -> None:
    past = entries(("a", True), ("b", False), ("c", True))  # surprises 0.5, -0.25, 0.25; c is the last
    e = math.exp
    expected = (0.25 - 0.25 * e(-1 / 2) + 0.5 * e(-2 / 2)) / (1 + e(-1 / 2) + e(-2 / 2))
    assert recent_means(past, MEANS, 2.0) == pytest.approx(expected)
    scorer = RecentPrior("r", MEANS, Recency(2.0, 1.5), with_mean=True)
    (values,) = scorer.score([CandidateList("u", past, ("d", "c"))]).values
    assert values.tolist() == pytest.approx([expected + 0.15, expected + 1.125])


def test_the_whole_past_counts_and_not_the_window_alone() -> None:
    past = entries(("a", True), ("b", True), ("c", False))
    scorer = RecentPrior("r", MEANS, Recency(6.0, 1.0), with_mean=False)
    asked = [
        CandidateList("u", past, ("d",)),
        CandidateList("u", past[2:], ("d",), past[:2]),
        CandidateList("u", past[2:], ("d",)),
    ]
    whole, split, window = scorer.score(asked).values
    assert whole == split != window


def test_an_empty_past_says_nothing() -> None:
    plain, with_mean = (RecentPrior("r", MEANS, Recency(weight=2.0), each) for each in (False, True))
    empty = [CandidateList("u", (), ("a", "d"))]
    assert plain.score(empty).values[0].tolist() == [0, 0]
    assert with_mean.score(empty).values[0].tolist() == pytest.approx([1.0, 0.2])
    assert not plain.log_odds


def test_an_item_without_a_mean_is_named() -> None:
    scorer = RecentPrior("r", MEANS, Recency(), with_mean=False)
    with pytest.raises(DataError, match="item 'x' is not in the catalogue"):
        scorer.score([CandidateList("u", entries(("x", True)), ("a",))])
    with pytest.raises(DataError, match="item 'x' is not in the catalogue"):
        scorer.score([CandidateList("u", (), ("x",))])


pasts = st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30).map(lambda pairs: entries(*pairs))


@given(pasts)
def test_without_decay_it_is_the_plain_mean_and_the_order_is_nothing(past: tuple[HistoryEntry, ...]) -> None:
    plain = np.mean([entry.liked - MEANS[entry.item_id] for entry in past]) if past else 0.0
    assert recent_means(past, MEANS, math.inf) == pytest.approx(plain)
    assert recent_means(past[::-1], MEANS, math.inf) == pytest.approx(plain)


@given(pasts, st.floats(-0.5, 0.5), st.sampled_from(DECAYS))
def test_means_that_all_shift_shift_the_score(past: tuple[HistoryEntry, ...], shift: float, decay: float) -> None:
    shifted = {item: mean + shift for item, mean in MEANS.items()}
    expected = recent_means(past, MEANS, decay) - (shift if past else 0.0)
    assert recent_means(past, shifted, decay) == pytest.approx(expected)


@given(pasts, st.booleans(), st.sampled_from(DECAYS))
def test_a_like_more_never_hurts_and_stays_in_bounds(past: tuple[HistoryEntry, ...], last: bool, decay: float) -> None:
    liked, disliked = (recent_means((*past, HistoryEntry("a", like)), MEANS, decay) for like in (True, False))
    assert -1 <= disliked < liked <= 1


def made(rng: np.random.Generator, users: int) -> dict[str, list[Sample]]:
    """Moody users: what they like changes slowly, so the latest events say most."""
    splits: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    for user in range(users):
        mood, past = 0.0, list[HistoryEntry]()
        for place in range(30):
            mood = 0.7 * mood + rng.normal()
            item = str(rng.integers(8))
            liked = bool(mood + 0.3 * int(item) - 1 + rng.normal() > 0)
            split = "train" if place < 28 else "valid" if place == 28 else "test"
            if past:
                sample = Sample(f"{user}-{place}", f"u{user}", item, int(liked), tuple(past[-10:]), None, past[:-10])
                splits[split].append(sample)
            past.append(HistoryEntry(item, liked))
    return splits


TITLES = {str(item): f"Title {item}" for item in range(8)}


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    splits = made(np.random.default_rng(0), 60)
    return write_sample_set(tmp_path_factory.mktemp("recent") / "data", TITLES, splits)


def test_the_weights_are_the_best_on_the_validation_split(fit: SampleSet) -> None:
    statistics = ItemStatistics(fit)
    samples, means = fit.samples("valid"), statistics.means(fit.catalog)
    chosen = statistics.recency
    assert chosen.reason == ""
    assert chosen.decay in DECAYS
    assert chosen.weight in WEIGHTS

    def measured(decay: float, weight: float) -> float:
        scorer = RecentPrior("r", means, Recency(decay, weight), with_mean=True)
        return auc([s.label for s in samples], scorer.score(sample_lists(samples)).flat()) or 0.0

    best = max(measured(decay, weight) for decay in DECAYS for weight in WEIGHTS)
    assert measured(chosen.decay, chosen.weight) == best
    assert prior("recent", fit).recency == chosen  # type: ignore[union-attr]
    assert chosen.decay < math.inf, "moods pass"


def test_test_labels_choose_nothing(fit: SampleSet, tmp_path: Path) -> None:
    splits = {split: fit.samples(split) for split in ("train", "valid", "test")}
    splits["test"] = [dataclasses.replace(sample, label=1 - sample.label) for sample in splits["test"]]
    turned = write_sample_set(tmp_path / "turned", TITLES, splits)
    assert ItemStatistics(turned).recency == ItemStatistics(fit).recency


def test_of_equals_the_smaller_is_chosen() -> None:
    samples = [Sample(f"s{n}", "u", "a", n % 2, entries(("a", bool(n % 2)))) for n in range(4)]
    assert choose_recency(samples, MEANS) == Recency(DECAYS[0], WEIGHTS[0]), "any weights separate these"


@pytest.mark.parametrize(
    ("labels", "why"), [([], "no samples in its validation split"), ([1, 1], "every label is positive")]
)
def test_without_labels_to_choose_by_there_are_defaults_and_a_reason(labels: Sequence[int], why: str) -> None:
    found = choose_recency([Sample(f"s{n}", "u", "a", label, ()) for n, label in enumerate(labels)], MEANS)
    assert (found.decay, found.weight) == (6.0, 1.0)
    assert why in found.reason


@settings(deadline=None, max_examples=10)
@given(st.permutations(list(TITLES)), st.integers(0, 2**16))
def test_renamed_items_and_permuted_users_change_no_score(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    splits, name = made(rng, 6), dict(zip(TITLES, names, strict=True))
    users = {f"u{user}": f"x{place}" for place, user in enumerate(rng.permutation(6).tolist())}

    def renamed(history: Sequence[HistoryEntry]) -> tuple[HistoryEntry, ...]:
        return tuple(HistoryEntry(name[entry.item_id], entry.liked) for entry in history)

    def other(sample: Sample) -> Sample:
        return Sample(
            sample.sample_id, users[sample.user_id], name[sample.item_id], sample.label, renamed(sample.history), None,
            renamed(sample.earlier),
        )  # fmt: skip

    changed = {split: [other(sample) for sample in part[::-1]] for split, part in splits.items()}
    folder = tmp_path_factory.mktemp("renamed")
    one = write_sample_set(folder / "one", TITLES, splits)
    two = write_sample_set(folder / "two", {name[item]: title for item, title in TITLES.items()}, changed)
    for bare in ("recent", "recent+item-mean"):
        first = prior(bare, one).score(sample_lists(one.samples("test"))).flat()
        second = prior(bare, two).score(sample_lists(two.samples("test"))).flat()
        assert first == pytest.approx(second[::-1])
