from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.errors import DataError
from recalign.evaluation.full_ranking import SAID, rank_full
from recalign.retrieval.index import Index, build_index
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set


class Knowing:
    """Puts the targets that it knows first, or last."""

    name = "knowing"
    log_odds = False

    def __init__(self, targets: dict[str, str], sign: float = 1.0) -> None:
        self.targets, self.sign = targets, sign

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        hits = [np.array([float(item == self.targets[each.user_id]) for item in each.item_ids]) for each in lists]
        return Scores(tuple(self.sign * values for values in hits))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    titles = {str(item): f"{'even' if item % 2 == 0 else 'odd'} story {item}" for item in range(60)}
    samples: dict[str, list[Sample]] = {"train": [], "valid": [], "test": []}
    draw = np.random.default_rng(1)
    for user in range(20):
        items = [str(2 * item + user % 2) for item in draw.permutation(25)[:9]]
        for split, place in (("train", 6), ("valid", 7), ("test", 8)):
            history = tuple(HistoryEntry(item, True) for item in items[:place])
            samples[split].append(Sample(f"{split}{user}", f"user{user}", items[place], 1, history))
    return write_sample_set(tmp_path_factory.mktemp("data") / "prepared", titles, samples)


@pytest.fixture(scope="module")
def index(data: SampleSet) -> Index:
    return build_index(data)


def targets(data: SampleSet) -> dict[str, str]:
    return {sample.user_id: sample.item_id for sample in data.samples("test")}


def test_a_perfect_ranking_reaches_the_ceiling_and_no_more(data: SampleSet, index: Index) -> None:
    scorers = {"best": Knowing(targets(data)), "worst": Knowing(targets(data), -1)}
    found = rank_full(index, scorers, data, retrieve=15)
    retriever, best, worst = found.stages
    assert (retriever.name, best.name, worst.name) == ("retriever", "best", "worst")
    assert 0 < found.ceiling < 1
    assert best.ndcg == best.recall == best.mrr == pytest.approx(found.ceiling)
    assert retriever.ndcg < best.ndcg
    assert worst.recall == 0
    assert worst.mrr == pytest.approx(found.ceiling / 15)


def test_stage_one_by_hand(data: SampleSet, index: Index) -> None:
    found = rank_full(index, {}, data, retrieve=100)
    ranks = []
    for sample in data.samples("test"):
        ids = index.retrieve(sample.past, 200).item_ids
        ranks.append(ids.index(sample.item_id) + 1 if sample.item_id in ids else np.inf)
    values = np.array(ranks)
    (stage,) = found.stages
    assert stage.recall == pytest.approx((values <= 10).mean())
    assert stage.ndcg == pytest.approx(np.where(values <= 10, 1 / np.log2(values + 1), 0).mean())
    assert stage.mrr == pytest.approx((1 / values).mean())
    assert found.recall == {cutoff: pytest.approx((values <= cutoff).mean()) for cutoff in (50, 100, 200)}
    assert (found.targets, found.items) == (20, 60)
    assert found.as_json()["candidates"] == SAID


def test_progress_and_equal_scores(data: SampleSet, index: Index) -> None:
    told: list[tuple[int, int]] = []
    none_known = Knowing(dict.fromkeys(targets(data), ""))
    found = rank_full(index, {"a": none_known, "b": none_known}, data, progress=lambda *counts: told.append(counts))
    assert told == [(16, 40), (20, 40), (36, 40), (40, 40)]
    assert found.stages[1].ndcg == found.stages[0].ndcg  # ties keep the retriever's order


def test_nothing_to_look_for(tmp_path: Path, index: Index) -> None:
    sample = Sample("x", "u", "0", 0, (HistoryEntry("1", True),))
    data = write_sample_set(tmp_path / "d", {"0": "zero", "1": "one"}, {"train": [sample]})
    with pytest.raises(DataError, match="no liked target"):
        rank_full(index, {}, data, "train")
