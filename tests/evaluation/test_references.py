"""References stand beside the models, say what they learned, and are counted by no verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recalign.baselines.factorisation import reference
from recalign.data.ranking_lists import RankingConfig
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError
from recalign.evaluation import sentences, tables
from recalign.evaluation.document import BESIDE, Panel, ReferenceFit
from recalign.evaluation.evaluate import evaluate
from recalign.evaluation.priors import Fold
from recalign.evaluation.ranking import freeze
from recalign.evaluation.references import fit_of, reference_rows
from recalign.evaluation.score import score_split
from recalign.testing.data import write_sample_set

from .conftest import TITLES, Taste, samples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    splits = {name: samples(name, 20, seed) for seed, name in enumerate(("train", "valid", "test"))}
    return write_sample_set(tmp_path_factory.mktemp("references") / "data", TITLES, splits)


@pytest.fixture(scope="module")
def panel(data: SampleSet) -> Panel:
    return evaluate([Taste(), "reference:mf"], data, resamples=50, pairs=[("taste", "reference:mf")])


def test_a_named_reference_is_a_row_of_its_own_kind(panel: Panel, data: SampleSet) -> None:
    row = next(row for row in panel.rows if row.model == "reference:mf")
    assert (row.kind, row.seeds, row.verdicts) == ("reference", (), {})
    assert row.mean("auc") is not None
    assert row.mean("log-loss") is None
    assert panel.references == (fit_of(reference("mf", data)),)


def test_no_verdict_counts_it(panel: Panel, data: SampleSet) -> None:
    alone = evaluate([Taste()], data, resamples=50)
    judged = {row.model: row.verdicts for row in panel.rows if row.verdicts}
    assert list(judged) == ["taste"]
    assert judged["taste"] == alone.rows[0].verdicts, "no other best prior, and no larger family of tests"
    assert sentences.headline(panel) == sentences.headline(alone)
    (auc,) = [each for each in panel.comparisons if each.metric == "auc"]
    assert (auc.a, auc.b) == ("taste", "reference:mf")


def test_it_stands_after_the_priors_and_is_dimmed(panel: Panel) -> None:
    table = tables.results_table(panel)
    names = [row.cells[0].text for row in table.rows]
    assert names[-2:] == ["reference:mf", "taste"]
    assert [row.dim for row in table.rows] == [True] * (len(names) - 1) + [False]
    assert any(note.startswith("reference:mf is fitted on all ") for note in table.notes)
    assert all(line.startswith("taste") for line in sentences.remarks(panel))
    assert {row.kind for row in panel.rows} == {*BESIDE, "other"}


def test_what_it_learned_in_words() -> None:
    assert sentences.references([]) == []
    fits = [
        ReferenceFit(model="reference:mf", labels=1234, regularisation=8),
        ReferenceFit(model="reference:mf", labels=99, regularisation=8, reason="no samples in its validation split"),
    ]
    assert sentences.references(fits) == [
        "reference:mf is fitted on all 1,234, 99 train labels of the evaluated data (regularisation 8, chosen on its "
        "validation split; by default (no samples in its validation split)). It shows what these labels are worth, and "
        "no verdict counts it."
    ]


def test_rows_are_pooled_over_folds_each_fitted_on_itself(make: Callable[..., SampleSet], data: SampleSet) -> None:
    other = make(train=samples("t", 20, 5), valid=samples("v", 20, 6), test=samples("f", 20, 7))
    rows, fits = reference_rows([Fold(data), Fold(other)], "test", ["mf"])
    assert fits == (fit_of(reference("mf", data)), fit_of(reference("mf", other)))
    (frame,) = rows[0].scores.samples
    apart = [score_split(reference("mf", each), each, "test").frame["score"] for each in (data, other)]
    assert frame["score"].to_list() == [*apart[0], *apart[1]]
    assert reference_rows([Fold(data)], "test", []) == ([], ())


def test_it_ranks_candidates_and_its_scores_are_written(make: Callable[..., SampleSet], tmp_path: Path) -> None:
    few = {name: [replace(each, history=()) for each in samples(name, 20, 0)[::6]] for name in ("train", "test")}
    data = make(**few)
    freeze(data, RankingConfig(negatives=2), tmp_path / "lists")
    panel = evaluate(
        ["reference:mf"], data, candidates=tmp_path / "lists", output=tmp_path / "out.parquet", resamples=20
    )
    assert panel.rows[0].mean("ndcg") is not None
    assert (tmp_path / "out.parquet").exists()
    assert (tmp_path / "out.candidates.parquet").exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("reference:fm", "expected reference:mf"),
        ("mf", "Did you mean reference:mf?"),
        ("recent", "Did you mean prior:recent"),
    ],
)
def test_a_misspelt_name_gets_a_hint(name: str, hint: str, data: SampleSet) -> None:
    with pytest.raises(ConfigError, match=hint.replace("?", r"\?")):
        evaluate([name], data)
