from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.errors import DataError
from recalign.evaluation.full_ranking import SAID, FullRanking, Stage, rank_full
from recalign.evaluation.full_ranking_tables import full_ranking_tables
from recalign.evaluation.rows import TestSettings
from recalign.metrics.ranking import as_frame
from recalign.metrics.significance import bootstrap_ci, paired_bootstrap
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


def mean(stage: Stage, metric: str) -> float:
    value = stage.metrics[metric].mean
    assert value is not None
    return value


def test_a_perfect_ranking_reaches_the_ceiling_and_no_more(data: SampleSet, index: Index) -> None:
    scorers = {"best": Knowing(targets(data)), "worst": Knowing(targets(data), -1)}
    found = rank_full(index, scorers, data, retrieve=15)
    retriever, best, worst = found.stages
    assert (retriever.name, best.name, worst.name) == ("retriever", "best", "worst")
    ceiling = found.ceiling.mean
    assert ceiling is not None
    assert 0 < ceiling < 1
    assert mean(best, "ndcg") == mean(best, "recall") == mean(best, "mrr") == pytest.approx(ceiling)
    assert mean(retriever, "ndcg") < mean(best, "ndcg")
    assert mean(worst, "recall") == 0
    assert mean(worst, "mrr") == pytest.approx(round(ceiling / 15, 6))


def test_stage_one_by_hand(data: SampleSet, index: Index) -> None:
    found = rank_full(index, {}, data, retrieve=100)
    ranks = []
    for sample in data.samples("test"):
        ids = index.retrieve(sample.past, 200).item_ids
        ranks.append(ids.index(sample.item_id) + 1 if sample.item_id in ids else np.inf)
    values = np.array(ranks)
    (stage,) = found.stages
    assert mean(stage, "recall") == pytest.approx((values <= 10).mean())
    assert mean(stage, "ndcg") == pytest.approx(round(np.where(values <= 10, 1 / np.log2(values + 1), 0).mean(), 6))
    assert mean(stage, "mrr") == pytest.approx(round((1 / values).mean(), 6))
    recall = {cutoff: estimate.mean for cutoff, estimate in found.recall.items()}
    assert recall == {cutoff: pytest.approx((values <= cutoff).mean()) for cutoff in (50, 100, 200)}
    assert (found.targets, found.users, found.items) == (20, 20, 60)
    assert found.comparisons == ()
    assert FullRanking.model_validate_json(found.model_dump_json()) == found
    assert found.candidates == SAID


def test_intervals_and_differences_are_those_of_the_bootstrap(data: SampleSet, index: Index) -> None:
    settings = TestSettings(resamples=300, seed=4)
    found = rank_full(index, {"best": Knowing(targets(data))}, data, retrieve=15, settings=settings)
    samples = data.samples("test")
    lists = [index.retrieve(sample.past, 15).item_ids for sample in samples]
    places = [
        ids.index(sample.item_id) + 1 if sample.item_id in ids else 0
        for sample, ids in zip(samples, lists, strict=True)
    ]

    def frame(values: list[float]) -> pl.DataFrame:
        names, users = [sample.sample_id for sample in samples], [sample.user_id for sample in samples]
        return as_frame(pl.Series(names), pl.Series(users), np.array(values))

    before = frame([1 / place if place else 0.0 for place in places])
    after = frame([float(place > 0) for place in places])
    interval = bootstrap_ci("mean", before, n_resamples=300, seed=4)
    assert interval is not None
    assert found.stages[0].metrics["mrr"].ci == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert found.ceiling.ci == found.stages[1].metrics["mrr"].ci
    assert [(test.a, test.b, test.metric) for test in found.comparisons] == [
        ("best", "retriever", "ndcg"),
        ("best", "retriever", "mrr"),
    ]
    expected = paired_bootstrap("mean", after, before, n_resamples=300, seed=4)
    assert expected is not None
    assert expected.interval is not None
    test = found.comparisons[1]
    assert test.difference == pytest.approx(expected.difference, abs=1e-6)
    assert test.interval == pytest.approx((expected.interval.low, expected.interval.high), abs=1e-6)
    assert test.outcome == "above"


def test_one_user_has_no_interval(data: SampleSet, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    [sample, *_] = data.samples("test")
    monkeypatch.setattr(SampleSet, "samples", lambda self, split: [sample])
    found = rank_full(index, {"best": Knowing(targets(data))}, data)
    estimates = [*found.recall.values(), found.ceiling, *found.stages[0].metrics.values()]
    assert [(estimate.ci, estimate.reason) for estimate in estimates] == [(None, "fewer than two users")] * 7
    assert [(test.interval, test.p_value) for test in found.comparisons] == [(None, None)] * 2
    assert all(
        cell.text == "–" for table in full_ranking_tables(found, "test")[:2] for cell in table.rows[0].cells[2::2]
    )


def test_progress_and_equal_scores(data: SampleSet, index: Index) -> None:
    told: list[tuple[int, int]] = []
    none_known = Knowing(dict.fromkeys(targets(data), ""))
    found = rank_full(index, {"a": none_known, "b": none_known}, data, progress=lambda *counts: told.append(counts))
    assert told == [(16, 40), (20, 40), (36, 40), (40, 40)]
    assert found.stages[1].metrics == found.stages[0].metrics  # ties keep the retriever's order


def test_nothing_to_look_for(tmp_path: Path, index: Index) -> None:
    sample = Sample("x", "u", "0", 0, (HistoryEntry("1", True),))
    data = write_sample_set(tmp_path / "d", {"0": "zero", "1": "one"}, {"train": [sample]})
    with pytest.raises(DataError, match="no liked target"):
        rank_full(index, {}, data, "train")
