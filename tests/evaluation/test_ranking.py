"""Ranking evaluations and their table: candidates in, score file, metrics, rivals, comparisons, 80 columns."""

from __future__ import annotations

import io
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
from recalign.errors import ArtifactError, ConfigError, DataError, ModelError
from recalign.evaluation.document import Panel, PanelFacts, Row
from recalign.evaluation.panel import build_panel, compare, sample_counts
from recalign.evaluation.priors import Fold, prior_rows
from recalign.evaluation.ranking import RandomRanker, RankingTask, load_task, ranked, score_task
from recalign.evaluation.ranking import freeze as freeze_lists
from recalign.evaluation.render import print_panel
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings, measure_row
from recalign.evaluation.score import score_split
from recalign.evaluation.score_file import ScoreFile
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
    assert measured(again) == measured(scores)


def measured(scores: ScoreFile, resamples: int = 20) -> Row:
    return measure_row(Row(model="m", kind="other"), RowScores.of([], [[scores]]), TestSettings(resamples))


def test_metrics_by_hand(task: RankingTask) -> None:
    metrics = measured(score_task(Numbers(), task), 50).metrics
    places = [sorted(each.item_ids).index(each.truth) + 1 for each in task.lists]  # a low number is a low id
    assert max(places) <= 10, "the sample is easy on purpose"
    assert set(metrics) == {"ndcg", "recall", "mrr"}
    assert metrics["ndcg"].mean == pytest.approx(np.mean([1 / math.log2(place + 1) for place in places]), rel=1e-5)
    assert metrics["recall"].mean == 1.0
    assert metrics["mrr"].mean == pytest.approx(np.mean([1 / place for place in places]), rel=1e-5)
    assert metrics["ndcg"].ci is not None
    assert metrics["ndcg"].ci[0] <= metrics["ndcg"].mean <= metrics["ndcg"].ci[1]
    facts = ranked([task])
    assert (facts.lists, facts.users, facts.negatives, facts.fingerprints) == (20, 20, 20, (task.fingerprint,))


def test_the_like_rate_ranks_like_the_random_ranker(data: SampleSet, task: RankingTask) -> None:
    rows, _ = prior_rows([Fold(data, task=task)], "test")
    found = {each.row.model: measure_row(each.row, each.scores, TestSettings(20)) for each in rows}
    assert set(found) == {
        *("prior:random", "prior:like-rate", "prior:item-mean", "prior:popularity", "prior:like-rate+item-mean"),
        *("prior:recent", "prior:recent+item-mean"),
    }
    for metric, value in random_ranker(21).items():
        assert found["prior:random"].mean(metric) == pytest.approx(value, rel=1e-5)
        assert found["prior:like-rate"].mean(metric) == pytest.approx(value, rel=1e-5)
        assert found["prior:recent"].mean(metric) == pytest.approx(value, rel=1e-5)
        assert found["prior:like-rate+item-mean"].mean(metric) == found["prior:item-mean"].mean(metric)
        assert found["prior:recent+item-mean"].mean(metric) == found["prior:item-mean"].mean(metric)
    popularity, random = found["prior:popularity"].mean("ndcg"), found["prior:random"].mean("ndcg")
    assert popularity is not None
    assert random is not None
    assert popularity > 1.5 * random, "targets are few items that many met"
    assert found["prior:random"].mean("auc") is None, "it says nothing of samples"


class Broken(Numbers):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(np.full(len(each.item_ids), np.nan) for each in lists))


class Short(Numbers):
    def score(self, lists: Sequence[CandidateList]) -> Scores:
        return Scores(tuple(np.zeros(1) for _ in lists))


def test_broken_scores_and_other_files_are_refused(data: SampleSet, task: RankingTask) -> None:
    with pytest.raises(ModelError, match="scores of numbers; found 420 of 420 NaN"):
        score_task(Broken(), task)
    with pytest.raises(ModelError, match="found 20; expected 420, one per item"):
        score_task(Short(), task)
    with pytest.raises(DataError, match="a row per sample; expected a row per ranking candidate"):
        RowScores.of([], [[score_split(Numbers(), data, "test")]])


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


def test_candidates_of_another_split_are_refused(data: SampleSet, freeze: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"lists of split test; expected split train. Pass --split test"):
        load_task(freeze(), data, "train")


def panel(data: SampleSet, task: RankingTask, *models: Sequence[Numbers], resamples: int = 50) -> Panel:
    """A panel of models (each a list of its seeds) and all priors."""
    rows = [
        ScoredRow(
            Row(model=seeds[0].name, kind="other", seeds=tuple(range(len(seeds)))),
            RowScores.of([], [[score_task(each, task, seed=seed)] for seed, each in enumerate(seeds)]),
        )
        for seeds in models
    ]
    priors, _ = prior_rows([Fold(data, task=task)], "test")
    frame = data.frame("test")
    facts = PanelFacts(name="p", title="P", data="p", split="test", ranked=ranked([task]), **sample_counts(frame))
    names = [(left.row.model, right.row.model) for left in rows for right in priors]
    return build_panel(facts, [*rows, *priors], TestSettings(resamples), names)


def test_models_are_compared_with_every_rival_in_pairs(data: SampleSet, task: RankingTask) -> None:
    found = panel(data, task, [Numbers("good")], [Numbers("bad", noise=5)], resamples=200)
    models = [row for row in found.rows if row.kind != "prior"]
    priors = [row for row in found.rows if row.kind == "prior"]
    assert {(each.a, each.b, each.metric) for each in found.comparisons} == {
        (model.model, rival.model, "ndcg") for model in models for rival in priors
    }
    means = {row.model: row.mean("ndcg") for row in found.rows}
    for each in found.comparisons:
        left, right = means[each.a], means[each.b]
        assert left is not None
        assert right is not None
        assert each.difference == pytest.approx(left - right, abs=2e-6)
        assert each.interval is not None
    by_pair = {(each.a, each.b): each for each in found.comparisons}
    first = by_pair["good", "prior:random"]
    assert first.outcome == "above"
    random = next(row for row in priors if row.model == "prior:random")
    pair = [
        ScoredRow(row, RowScores.of([], [[score_task(scorer, task)]]))
        for row, scorer in ((models[0], Numbers("good")), (random, RandomRanker()))
    ]
    (alone,) = compare(pair, [("good", "prior:random")], TestSettings(200))
    assert first.p_value is not None
    assert alone.p_value is not None
    assert first.p_value > alone.p_value, "Holm: ten comparisons instead of one"


def test_other_lists_are_not_compared(data: SampleSet, freeze: Callable[..., Path]) -> None:
    tasks = [load_task(freeze(seed), data) for seed in (0, 1)]
    rows = [
        ScoredRow(Row(model=str(place), kind="other"), RowScores.of([], [[score_task(Numbers(), task)]]))
        for place, task in enumerate(tasks)
    ]
    facts = PanelFacts(name="p", title="P", data="p", split="test", **sample_counts(data.frame("test")))
    with pytest.raises(DataError, match="2 sets of candidate lists"):
        build_panel(facts, rows, TestSettings(10))


def shown(found: Panel) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    print_panel(console, found)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_shows_all_with_intervals_and_a_verdict(data: SampleSet, task: RankingTask) -> None:
    found = panel(data, task, [Numbers("good")], [Numbers("bad", noise=5)], resamples=100)
    priors = {row.model: row.mean("ndcg") or 0.0 for row in found.rows if row.kind == "prior"}
    best = max(priors, key=lambda name: priors[name])
    judged = {row.model: row.verdicts["ndcg"] for row in found.rows if "ndcg" in row.verdicts}
    assert {name: verdict.prior for name, verdict in judged.items()} == {"good": best, "bad": best}
    assert judged["bad"].beats is False
    text = shown(found)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for row in found.rows:
        assert row.model in text
        for metric in ("ndcg", "recall", "mrr"):
            assert f"{row.mean(metric):.4f}" in text
    sentences = " ".join(text.split())
    assert "20 lists of 20 users" in sentences
    assert "strong rival" in sentences
    assert task.fingerprint[:12] in text
    assert Panel.model_validate_json(found.model_dump_json()) == found


def test_seeds_of_one_model_share_a_row(data: SampleSet, task: RankingTask) -> None:
    seeds = [Numbers("model", noise=0.5, seed=seed) for seed in range(3)]
    found = panel(data, task, seeds)
    estimate = found.rows[0].metrics["ndcg"]
    values = [measured(score_task(each, task)).mean("ndcg") for each in seeds]
    assert estimate.n == 3
    assert estimate.mean == pytest.approx(np.mean(values), abs=2e-6)  # type: ignore[arg-type]
    assert estimate.sd == pytest.approx(np.std(values, ddof=1), abs=2e-6)  # type: ignore[arg-type]
    assert f"±{estimate.sd:.3f}" in shown(found)
    assert len(found.comparisons) == 7
    assert max(len(line.rstrip()) for line in shown(found).splitlines()) <= 80


def test_names_from_strangers_are_inert(data: SampleSet, task: RankingTask) -> None:
    found = panel(data, task, [Numbers("[red]m\x1b[31m|x")], resamples=10)
    assert "\x1b" not in shown(found)
    assert "[red]m|x" in shown(found)
