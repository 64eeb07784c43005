"""Ranking evaluations and their table: candidates in, score file, metrics, rivals, comparisons, 80 columns."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from recalign.data.ranking_lists import RankingConfig, ranking_candidates, write_ranking_candidates
from recalign.data.samples import CandidateList, HistoryEntry, Sample, SampleSet
from recalign.data.schema import SCORES
from recalign.errors import ArtifactError, DataError, ModelError
from recalign.experiment.evaluation import priors_for
from recalign.experiment.ranking import (
    RankingEvaluation,
    RankingTask,
    against_rivals,
    load_task,
    measure,
    rivals,
    score_task,
)
from recalign.experiment.ranking import (
    freeze as freeze_lists,
)
from recalign.experiment.ranking_tables import RankingTable, ranking_table
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.metrics.ranking import random_ranker
from recalign.scoring.base import Scores
from recalign.testing.data import write_sample_set

TITLES = {f"i{number:02d}": f"Title {number}" for number in range(40)}


class Numbers:
    """Likes items with a low number; `noise` mixes in a seeded preference. A language model if `mass` is given."""

    log_odds = True

    def __init__(self, name: str = "numbers", noise: float = 0.0, mass: float | None = None, seed: int = 0) -> None:
        self.name, self.mass = name, mass
        self.values = {
            item: -float(item[1:]) / 40 + noise * np.random.default_rng([seed, int(item[1:])]).normal()
            for item in TITLES
        }

    def score(self, lists: Sequence[CandidateList]) -> Scores:
        values = tuple(np.array([self.values[item] for item in each.item_ids]) for each in lists)
        return Scores(values, None if self.mass is None else tuple(np.full(v.shape, self.mass) for v in values))


def samples(split: str) -> list[Sample]:
    """Thirty users; targets are low numbers, so the scorer above is good at them."""
    rng = np.random.default_rng(len(split))
    return [
        Sample(
            f"{split}{user:02d}",
            f"u{user:02d}",
            f"i{rng.integers(0, 8):02d}",
            int(user % 3 > 0),
            (HistoryEntry(f"i{20 + user % 5}", user % 2 == 0),),
        )
        for user in range(30)
    ]


@pytest.fixture
def data(tmp_path: Path) -> SampleSet:
    return write_sample_set(tmp_path / "data", TITLES, {split: samples(split) for split in ("train", "test")})


@pytest.fixture
def freeze(data: SampleSet, tmp_path: Path) -> Callable[..., Path]:
    def write(seed: int = 0) -> Path:
        config = RankingConfig(negatives=20, seed=seed)
        lists, counts = ranking_candidates(data, config)
        write_ranking_candidates(tmp_path / f"lists{seed}", lists, counts, config, parent=data.fingerprint)
        return tmp_path / f"lists{seed}"

    return write


@pytest.fixture
def task(data: SampleSet, freeze: Callable[..., Path]) -> RankingTask:
    return load_task(freeze(), data)


def test_scorers_are_asked_the_frozen_lists_with_their_histories(data: SampleSet, task: RankingTask) -> None:
    by_id = {each.sample_id: each for each in data.samples("test")}
    assert len(task.lists) == 20
    for each, question in zip(task.lists, task.questions, strict=True):
        assert question == CandidateList(each.user_id, by_id[each.sample_id].history, each.item_ids)
        assert each.truth == by_id[each.sample_id].item_id


def test_the_score_file_has_a_row_per_candidate(task: RankingTask, tmp_path: Path) -> None:
    scores = score_task(Numbers(mass=0.5), task, seed=3, name="mine")
    frame = scores.frame
    assert dict(frame.schema) == {**SCORES, "label_mass": pl.Float64()}
    assert frame.height == 20 * 21
    assert frame["label"].sum() == 20
    truths = {each.sample_id: each.truth for each in task.lists}
    assert dict(frame.filter(pl.col("label") == 1).select("sample_id", "item_id").iter_rows()) == truths
    assert frame["item_id"].to_list() == [item for each in task.lists for item in each.item_ids]
    assert (frame["model"].unique().to_list(), frame["seed"].unique().to_list()) == (["mine"], [3])
    assert (scores.split, scores.data, scores.candidates) == ("test", task.data, task.fingerprint)
    scores.write(tmp_path / "scores.parquet")
    again = ScoreFile.read(tmp_path / "scores.parquet")
    assert again.candidates == task.fingerprint
    assert measure(again, resamples=20).metrics == measure(scores, resamples=20).metrics


def test_metrics_by_hand(task: RankingTask) -> None:
    evaluation = measure(score_task(Numbers(), task), resamples=50)
    places = [sorted(each.item_ids).index(each.truth) + 1 for each in task.lists]  # a low number is a low id
    assert max(places) <= 10, "the sample is easy on purpose"
    metrics = evaluation.metrics
    assert metrics["ndcg"] == pytest.approx(np.mean([1 / math.log2(place + 1) for place in places]))
    assert metrics["recall"] == 1.0
    assert metrics["mrr"] == pytest.approx(np.mean([1 / place for place in places]))
    assert metrics["ndcg_ci"][0] <= metrics["ndcg"] <= metrics["ndcg_ci"][1]
    assert (metrics["lists"], metrics["users"], metrics["items"]) == (20, 20, 21)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_the_like_rate_ranks_like_the_random_ranker(data: SampleSet, task: RankingTask) -> None:
    found = {each.model: each.metrics for each in rivals(task, priors_for(data).scorers, resamples=20)}
    assert list(found)[:2] == ["prior:random", "prior:like-rate"]
    assert set(found) == {
        *("prior:random", "prior:like-rate", "prior:item-mean", "prior:popularity", "prior:like-rate+item-mean")
    }
    for metric, value in random_ranker(21).items():
        assert found["prior:random"][metric] == pytest.approx(value)
        assert found["prior:like-rate"][metric] == pytest.approx(value)
        assert found["prior:like-rate+item-mean"][metric] == pytest.approx(found["prior:item-mean"][metric])
    assert found["prior:popularity"]["ndcg"] > 1.5 * found["prior:random"]["ndcg"], (
        "targets are few items that many met"
    )


class Broken(Numbers):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(np.full(len(each.item_ids), np.nan) for each in lists))


class Short(Numbers):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(np.zeros(1) for _ in lists))


def test_broken_scores_and_other_files_are_refused(data: SampleSet, task: RankingTask) -> None:
    with pytest.raises(ModelError, match="scores of numbers; found 420 of 420 NaN"):
        score_task(Broken(), task)
    with pytest.raises(ModelError, match="found 20; expected 420, one per candidate"):
        score_task(Short(), task)
    with pytest.raises(DataError, match="a row per sample; expected a row per ranking candidate"):
        measure(score_split(Numbers(), data, "test"))


def test_candidates_are_drawn_once_and_again_for_other_data_or_settings(data: SampleSet, tmp_path: Path) -> None:
    target, config = tmp_path / "frozen", RankingConfig(negatives=20)
    first = freeze_lists(data, config, target)
    made = (target / "manifest.json").stat().st_mtime_ns
    assert freeze_lists(data, config, target) == first
    assert (target / "manifest.json").stat().st_mtime_ns == made
    other = freeze_lists(data, RankingConfig(negatives=20, seed=1), target)
    assert other.fingerprint != first.fingerprint
    assert load_task(target, data) == other
    fewer = write_sample_set(tmp_path / "fewer", TITLES, {"test": samples("test")[:10]})
    assert len(freeze_lists(fewer, config, target).lists) == 6
    with pytest.raises(ArtifactError):
        freeze_lists(data, config, tmp_path / "data")  # prepared samples, which are never replaced


def test_candidates_of_other_data_are_refused(freeze: Callable[..., Path], tmp_path: Path) -> None:
    other = write_sample_set(tmp_path / "other", TITLES, {"test": samples("test")[:10]})
    with pytest.raises(ArtifactError, match=r"ranking candidates .* recalign candidates"):
        load_task(freeze(), other)


def evaluated(task: RankingTask, data: SampleSet, *models: Numbers) -> list[RankingEvaluation]:
    found = [measure(score_task(each, task, seed=place), resamples=50) for place, each in enumerate(models)]
    return [*found, *rivals(task, priors_for(data).scorers, resamples=50)]


def test_models_are_compared_with_every_rival_in_pairs(data: SampleSet, task: RankingTask) -> None:
    evaluations = evaluated(task, data, Numbers("good"), Numbers("bad", noise=5))
    found = against_rivals(evaluations, resamples=200)
    names = [each.model for each in evaluations]
    assert [(each.model, each.rival) for each in found] == [(m, r) for m in names[:2] for r in names[2:]]
    by_name = {each.model: each.metrics["ndcg"] for each in evaluations}
    for each in found:
        assert each.difference == pytest.approx(by_name[each.model] - by_name[each.rival])
        assert each.interval is not None
        assert each.above_zero == (each.interval.low > 0)
    first = found[0]
    assert first.rival == "prior:random"
    assert first.above_zero
    alone = against_rivals([evaluations[0], evaluations[2]], resamples=200)
    assert first.p_value is not None
    assert alone[0].p_value is not None
    assert first.p_value > alone[0].p_value, "Holm: ten comparisons instead of one"


def test_other_lists_are_not_compared(data: SampleSet, freeze: Callable[..., Path]) -> None:
    both = [measure(score_task(Numbers(), load_task(freeze(seed), data)), resamples=10) for seed in (0, 1)]
    with pytest.raises(DataError, match="2 sets of candidate lists"):
        against_rivals(both)
    with pytest.raises(DataError, match="no evaluations"):
        ranking_table([])


def shown(table: RankingTable) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(table.rich())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_shows_all_with_intervals_and_a_verdict(data: SampleSet, task: RankingTask) -> None:
    evaluations = evaluated(task, data, Numbers("good"), Numbers("bad", noise=5))
    table = ranking_table(evaluations, notes=["A note."], resamples=100)
    best = max((each for each in evaluations if each.is_rival), key=lambda each: each.metrics["ndcg"])
    assert table.best_rival == best.model
    verdicts = {each.model: each.above_zero for each in table.comparisons if each.rival == best.model}
    assert {row.model: row.beats for row in table.rows if not row.is_rival} == verdicts
    assert verdicts["bad"] is False
    assert all(row.beats is None for row in table.rows if row.is_rival)
    text, markdown = shown(table), table.markdown()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for each in evaluations:
        assert each.model in text
        assert f"| {each.model} |" in markdown
        for metric in ("ndcg", "recall", "mrr"):
            assert f"{each.metrics[metric]:.4f}" in text
            assert f"{each.metrics[metric]:.4f} [" in markdown
    assert len({line.count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1
    assert "20 lists of 20 users" in markdown
    assert "A note." in markdown
    assert "strong rival" in markdown
    assert "good − prior:popularity: NDCG@10 " in markdown
    assert task.fingerprint[:12] in text
    document = json.loads(json.dumps(table.as_json(), allow_nan=False))
    assert [each["model"] for each in document["metrics"]] == [each.model for each in evaluations]
    assert len(document["against_rivals"]) == 10


def test_seeds_of_one_model_share_a_row(data: SampleSet, task: RankingTask) -> None:
    seeds = [Numbers("model", noise=0.5, seed=seed) for seed in range(3)]
    evaluations = evaluated(task, data, *seeds)
    table = ranking_table(evaluations, resamples=50)
    row = table.rows[0]
    values = [each.metrics["ndcg"] for each in evaluations[:3]]
    mean = row.values["ndcg"][0]
    assert (row.seeds, mean.n) == (3, 3)
    assert mean.mean == pytest.approx(np.mean(values))
    assert mean.sd == pytest.approx(np.std(values, ddof=1))
    assert "model (3 seeds)" in shown(table)
    assert f"±{mean.sd:.3f}" in shown(table)
    assert len(table.comparisons) == 5
    assert max(len(line.rstrip()) for line in shown(table).splitlines()) <= 80


def test_names_from_strangers_are_inert(data: SampleSet, task: RankingTask) -> None:
    table = ranking_table(evaluated(task, data, Numbers("[red]m\x1b[31m|x")), resamples=10)
    assert "\x1b" not in shown(table) + table.markdown()
    assert "[red]m|x" in shown(table)
    assert r"[red]m\|x" in table.markdown()
