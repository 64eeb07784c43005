"""The reference: fitted on train labels alone, better than biases where there is structure, the same for any order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.baselines import factorisation
from recalign.baselines.factorisation import DEFAULT, REGULARISATIONS, Factorisation, reference, reference_name
from recalign.data.samples import CandidateList, Sample, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.metrics.classification import auc
from recalign.scoring.base import sample_lists
from recalign.testing.contracts import ScorerContract
from recalign.testing.data import write_sample_set

from .test_priors import history

USERS, ITEMS = 60, 30
TITLES = {f"i{item:02}": f"Title {item}" for item in range(ITEMS)}


def made(seed: int = 0) -> dict[str, list[Sample]]:
    """Two groups of users with opposite tastes in two groups of items, beside easy and hard users and items."""
    rng = np.random.default_rng(seed)
    splits: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    ease = rng.normal(size=ITEMS)
    for user in range(USERS):
        for place, item in enumerate(rng.permutation(ITEMS)[:24].tolist()):
            split = "train" if place < 18 else "valid" if place < 21 else "test"
            chance = 1 / (1 + np.exp(-(ease[item] + 3 * (1 if user % 2 == item % 2 else -1))))
            label = int(rng.random() < chance)
            splits[split].append(Sample(f"{user}-{place}", f"u{user:02}", f"i{item:02}", label, ()))
    return splits


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    return write_sample_set(tmp_path_factory.mktemp("mf") / "data", TITLES, made())


def scores(model: Factorisation, samples: list[Sample]) -> np.ndarray:
    return model.score(sample_lists(samples)).flat()


def test_factors_find_what_biases_cannot(data: SampleSet) -> None:
    model, samples = reference("mf", data), data.samples("test")
    labels = [sample.label for sample in samples]
    zero = replace(model, item_factors=np.zeros_like(model.item_factors))
    both, biases = auc(labels, scores(model, samples)), auc(labels, scores(zero, samples))
    assert both is not None
    assert biases is not None
    assert biases < 0.65 < 0.85 < both
    assert (model.labels, model.reason) == (USERS * 18, "")
    assert model.name == "reference:mf"
    assert not model.log_odds


def test_the_regularisation_is_the_best_on_the_validation_split(
    data: SampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, samples = reference("mf", data), data.samples("valid")
    labels = [sample.label for sample in samples]
    found = {}
    for penalty in REGULARISATIONS:
        monkeypatch.setattr(factorisation, "REGULARISATIONS", (penalty,))
        found[penalty] = auc(labels, scores(reference("mf", data), samples)) or 0.0
    assert found[chosen.regularisation] == max(found.values())


def test_neither_test_nor_validation_labels_are_learnt(data: SampleSet, tmp_path: Path) -> None:
    splits = {split: data.samples(split) for split in ("train", "valid", "test")}
    turned = {**splits, "test": [replace(sample, label=1 - sample.label) for sample in splits["test"]]}
    other = write_sample_set(tmp_path / "test", TITLES, turned)
    assert (
        scores(reference("mf", other), splits["test"]).tolist()
        == scores(reference("mf", data), splits["test"]).tolist()
    )
    bare = write_sample_set(tmp_path / "bare", TITLES, {"train": splits["train"]})
    by_default = reference("mf", bare)
    assert by_default.regularisation == DEFAULT
    assert by_default.reason == "no samples in its validation split"
    scored = reference("mf", data, "valid")
    assert scored.reason == "its validation split is what is scored"
    assert scores(scored, splits["valid"]).tolist() == scores(by_default, splits["valid"]).tolist()


def test_who_and_what_was_never_seen_counts_nothing(data: SampleSet) -> None:
    model = reference("mf", data)
    ((known, unknown),) = model.score([CandidateList("nobody", (), ("i00", "nothing"))]).values
    assert unknown == pytest.approx(model.mean)
    assert known == pytest.approx(model.mean + model.item_biases[model.items["i00"]])


def test_without_train_labels_there_is_none(tmp_path: Path) -> None:
    bare = write_sample_set(tmp_path / "bare", TITLES, {"test": made()["test"]})
    with pytest.raises(DataError, match="reference:mf; found no train samples"):
        reference("mf", bare)


def test_an_unknown_reference_names_those_there_are() -> None:
    assert reference_name("mf") == reference_name("reference:mf") == "reference:mf"
    with pytest.raises(ConfigError, match=r"expected reference:mf\. Did you mean reference:mf\?"):
        reference_name("reference:mff")


@settings(deadline=None, max_examples=3)
@given(st.randoms(use_true_random=False))
def test_renamed_users_and_permuted_rows_change_no_score(
    tmp_path_factory: pytest.TempPathFactory, random: object
) -> None:
    splits, names = made(), [f"n{user:02}" for user in range(USERS)]
    random.shuffle(names)  # type: ignore[attr-defined]
    changed = {
        split: [replace(sample, user_id=names[int(sample.user_id[1:])]) for sample in part]
        for split, part in splits.items()
    }
    for part in changed.values():
        random.shuffle(part)  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("renamed")
    one, two = (write_sample_set(folder / name, TITLES, each) for name, each in (("one", splits), ("two", changed)))
    first, second = reference("mf", one), reference("mf", two)
    assert first.regularisation == second.regularisation
    by_id = {sample.sample_id: sample for sample in changed["test"]}
    same = [by_id[sample.sample_id] for sample in splits["test"]]
    assert scores(first, splits["test"]) == pytest.approx(scores(second, same), rel=1e-9)


def test_labels_all_turned_turn_the_order(data: SampleSet, tmp_path: Path) -> None:
    """Everything is linear in the labels, but for the start of the factors, which wears off."""
    splits = {split: data.samples(split) for split in ("train", "valid", "test")}
    turned = {split: [replace(each, label=1 - each.label) for each in part] for split, part in splits.items()}
    other = write_sample_set(tmp_path / "turned", TITLES, turned)
    first, second = (scores(reference("mf", each), splits["test"]) for each in (data, other))
    assert second == pytest.approx(1 - first, abs=1e-9)


class TestContract(ScorerContract):
    @pytest.fixture
    def scorer(self, data: SampleSet) -> Factorisation:
        return reference("mf", data)

    @pytest.fixture
    def lists(self) -> list[CandidateList]:
        return [
            CandidateList("u00", history(("i02", False)), ("i01", "i03", "i05", "i02")),
            CandidateList("u01", history(("i03", True), ("i02", True), ("i04", False)), ("i01", "nothing")),
            CandidateList("nobody", (), ("i05",)),
        ]
