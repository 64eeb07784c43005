"""The library's evaluation: what a notebook calls, with saved models, priors, untuned models and any scorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest, write_directory
from recalign.baselines.artifact import train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.baselines.network import SequenceScorer
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ArtifactError, ConfigError, DataError
from recalign.evaluation import evaluate as module
from recalign.evaluation.evaluate import ScoreKind, evaluate, named_models
from recalign.evaluation.score_file import ScoreFile
from recalign.scoring.base import Scorer
from recalign.testing.data import write_sample_set

from .conftest import Taste, samples


class Untrained:
    """An untuned model that remembers when it was loaded."""

    name = "in-context taste"
    tuned = None

    def __init__(self) -> None:
        self.loaded: list[tuple[str, ScoreKind]] = []

    def scorer(self, data: SampleSet, kind: ScoreKind) -> Scorer:
        self.loaded.append((data.fingerprint, kind))
        return Taste()


def test_models_of_every_kind_stand_in_one_panel(data: SampleSet, tmp_path: Path) -> None:
    baseline, untuned = tmp_path / "caser", Untrained()
    config = BaselineConfig(model="caser", selection="last", weight_decays=(1e-5,), max_steps=1)
    train_baseline(data, config, baseline)
    panel = evaluate(
        [Taste(mass=True), baseline, untuned, "prior:item-mean"],
        data,
        output=tmp_path / "scores",
        resamples=20,
        seed=4,
        precision="int8",
    )
    assert [(row.model, row.kind) for row in panel.rows[:4]] == [
        ("taste", "other"), ("caser", "baseline"), ("in-context taste", "in-context"), ("prior:item-mean", "prior"),
    ]  # fmt: skip
    assert [row.kind for row in panel.rows[4:]] == ["prior"] * 5
    assert (panel.n, panel.n_users, panel.fingerprints) == (120, 20, (data.fingerprint,))
    assert untuned.loaded == [(data.fingerprint, "log-odds")]
    assert panel.rows[0].mean("label-mass") == 0.5
    assert panel.rows[0].seeds == (4,)
    assert "label-mass" not in panel.rows[2].metrics
    assert len(read_manifest(baseline).info["test_reads"]) == 1
    written = ScoreFile.read(tmp_path / "scores" / "taste.parquet")
    assert written.frame["seed"].unique().to_list() == [4]
    assert written.precision == "int8"
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        "taste.parquet", "caser.parquet", "in-context taste.parquet", "prior:item-mean.parquet",
    }  # fmt: skip


def test_what_is_wrong_is_told_before_anything_is_loaded(make: Callable[..., SampleSet], data: SampleSet) -> None:
    untuned = Untrained()
    bare = make(test=samples("e", 5, 3))
    with pytest.raises(ConfigError, match="one of them twice: in-context taste, in-context taste"):
        evaluate([untuned, untuned], data)
    with pytest.raises(ConfigError, match="nothing to learn from"):
        evaluate([untuned, "prior:item-mean"], bare)
    with pytest.raises(DataError, match="no train samples"):
        evaluate([untuned], data, fit=bare)
    with pytest.raises(ConfigError, match="split 'tset'"):
        evaluate([untuned], data, "tset")
    assert untuned.loaded == []


def test_directories_of_one_name_are_called_by_their_path(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "run" for folder in ("a", "b")]
    for path in paths:
        path.mkdir(parents=True)
    assert list(named_models([*map(str, paths), "prior:like-rate"])) == [*map(str, paths), "prior:like-rate"]
    assert list(named_models([paths[0]])) == ["run"]


def test_named_models_can_be_compared(data: SampleSet) -> None:
    panel = evaluate([Taste()], data, resamples=20, pairs=[("taste", "prior:like-rate")])
    assert [(it.a, it.b, it.metric) for it in panel.comparisons] == [
        ("taste", "prior:like-rate", "auc"),
        ("taste", "prior:like-rate", "gauc"),
    ]
    assert {it.outcome for it in panel.comparisons} == {"above"}


@pytest.fixture
def saved_data(tmp_path: Path) -> SampleSet:
    history = (HistoryEntry("a", True),)
    splits = {"train": [Sample(f"t{n}", "u", "b", n % 2, history) for n in range(4)]}
    return write_sample_set(tmp_path / "data", {"a": "Alien", "b": "Brazil"}, splits)


def test_a_baseline(saved_data: SampleSet, tmp_path: Path) -> None:
    config = BaselineConfig(model="caser", selection="last", weight_decays=(1e-5,), max_steps=1)
    train_baseline(saved_data, config, tmp_path / "b")
    scorer = module.load_saved(tmp_path / "b", saved_data)
    assert isinstance(scorer, SequenceScorer)
    assert scorer.log_odds
    with pytest.raises(ConfigError, match=r"found a baseline; expected a language model"):
        module.load_saved(tmp_path / "b", saved_data, kind="paper")


def test_a_model(saved_data: SampleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "recalign.tuning.model_artifact.load_scorer", lambda *given, **options: asked.append((given, options))
    )
    with write_directory(tmp_path / "m", "model", config={}) as stage:
        (stage / "x").write_text("y")
    module.load_saved(tmp_path / "m", saved_data, kind="paper")
    assert asked == [
        ((tmp_path / "m", saved_data), {"kind": "paper", "precision": "auto", "device": "auto", "endpoint": None})
    ]


def test_nothing_and_something_else(saved_data: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        module.load_saved(tmp_path / "none", saved_data)
    with pytest.raises(ArtifactError, match="samples"):
        module.load_saved(saved_data.path, saved_data)
