"""`results.json`: what is written is read again; what is damaged or of another version is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recalign.errors import ArtifactError, ConfigError
from recalign.evaluation.document import Estimate, Panel, Row, Verdict
from recalign.experiment.results import FORMAT_VERSION, RESULTS_FILE, Missing, Results
from recalign.experiment.run import run_experiment

Done = Any  # of conftest
Stage = Any

VERDICT = Verdict(prior="prior:like-rate", difference=0.1, interval=(0.05, 0.2), p_value=0.01, beats=True)


def results() -> Results:
    row = Row(
        model="TLRec <b>\x1b[31m",
        kind="tuned",
        backbone="nano",
        shots=16,
        seeds=(0, 1),
        metrics={"auc": Estimate(mean=0.6, sd=0.1, ci=(0.5, 0.7), n=2)},
        verdicts={"auc": VERDICT},
        published={"auc": 0.7304},
    )
    panel = Panel(
        name="movie", title="Movie", data="movie", split="test", n=4, n_users=2, positive_share=0.5,
        rows=(row,),
    )  # fmt: skip
    missing = (Missing(job="x", status="failed", reason="ü"),)
    return Results(name="e", title="E", panels=(panel,), missing=missing, machine={"cores": 2, "system": "Linux"})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = results().write(tmp_path)
    assert path == tmp_path / RESULTS_FILE
    assert Results.read(tmp_path) == results()
    assert json.loads(path.read_text(encoding="utf-8"))["format_version"] == FORMAT_VERSION
    results().model_copy(update={"title": "Again"}).write(tmp_path)
    assert Results.read(tmp_path).title == "Again"
    assert [each.name for each in tmp_path.iterdir()] == [RESULTS_FILE]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", "the document: Invalid JSON"),
        (b"[]", "the document: "),
        (b"\xff\xfe", "no text"),
        (b'{"name": "e", "title": "E"}', "panels: Field required"),
        (b'{"name": "e", "title": "E", "panels": [], "more": 1}', "more: Extra inputs"),
        (b'{"name": "e", "title": "E", "panels": [{"name": "p"}]}', "panels.0.title: Field required"),
    ],
)
def test_what_is_no_results_document_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / RESULTS_FILE).write_bytes(content)
    with pytest.raises(ArtifactError) as error:
        Results.read(tmp_path)
    assert found in str(error.value)
    assert str(error.value).isprintable()


def test_where_there_is_none_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="recalign run FILE"):
        Results.read(tmp_path)


# Cut from what the version before wrote.
FORMAT_1 = """{
 "format_version": 1, "name": "smoke", "title": "Smoke", "paper": "", "cpu_hours": 0.011, "missing": [],
 "panels": [{
  "name": "movie", "title": "Movies", "data": "movie", "split": "test", "n": 40, "n_users": 40, "positive_share": 0.5,
  "gauc_users": 0, "priors_note": "Item-based priors learned from 1,321 interactions.", "ranking_note": "",
  "unseen_note": "", "rows": [{
   "model": "GRU4Rec", "kind": "baseline", "backbone": "", "shots": 8, "control": "", "seeds": [0, 1],
   "status": "done", "reason": "", "metrics": {"auc": {"mean": 0.6, "sd": 0.095459, "ci": [0.463731, 0.752588], "n": 2},
   "gauc": null, "labelled_ndcg": null, "logloss": {"mean": 0.690183, "sd": 0.017181, "ci": null, "n": 2}},
   "published": {}, "verdict": null, "ranking_verdict": null, "refused": 0
  }], "comparisons": []
 }]
}"""
UNNUMBERED = """{"name": "quickstart", "evaluations": [{"title": "target, test", "metrics": []}]}"""


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (FORMAT_1, "found format version 1; expected format version 2"),
        (UNNUMBERED, "found title: Field required; expected format version 2"),
        ('{"format_version": 3, "name": "x"}', "found format version 3; expected format version 2"),
    ],
)
def test_another_format_is_refused_with_the_command_that_makes_it_new(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / RESULTS_FILE).write_text(content)
    with pytest.raises(ArtifactError) as error:
        Results.read(tmp_path)
    assert found in str(error.value)
    assert "Make it new: recalign run FILE. Finished jobs are kept" in str(error.value)


@pytest.mark.parametrize(
    ("row", "title"),
    [
        (
            Row(model="M", kind="tuned", backbone="nano", shots=16, control="masked-titles"),
            "M, nano, 16-shot, masked-titles",
        ),
        (Row(model="M", kind="tuned", backbone="nano"), "M, nano"),
        (Row(model="M", kind="in-context", backbone="nano"), "M, nano"),
        (Row(model="M", kind="baseline", shots=1), "M, 1-shot"),
        (Row(model="prior:random", kind="prior"), "prior:random"),
    ],
)
def test_titles_of_rows(row: Row, title: str) -> None:
    assert row.title == title


def test_results_cannot_be_changed_and_knows_its_values() -> None:
    with pytest.raises(ValidationError):
        results().title = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Row(model="M", kind="nonsense")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Missing(job="x", status="done", reason="")  # type: ignore[arg-type]


def test_references_that_a_panel_names_are_rows_of_it(
    tiny: Done, write: Callable[..., Path], tmp_path: Path, stage: Stage
) -> None:
    named = 'resamples = 100\nreferences = ["mf"]\ncompare = [["GRU4Rec", "reference:mf"]]'
    run = run_experiment(write(("resamples = 100", named)), tmp_path / "out", tiny.store)
    assert stage.names == [], "the jobs are those without it"
    (panel,), (plain,) = run.results.panels, tiny.run.results.panels
    rows = [row for row in panel.rows if row.kind == "reference"]
    assert [(row.model, row.verdicts) for row in rows] == [("reference:mf", {})]
    assert [row for row in panel.rows if row.kind != "reference"] == list(plain.rows)
    (fit,) = panel.references
    assert fit.model == "reference:mf"
    assert plain.references == ()
    assert {(each.a, each.b) for each in panel.comparisons} == {("GRU4Rec, 8-shot", "reference:mf")}
    with pytest.raises(ConfigError, match="found no row 'reference:mf'"):
        run_experiment(write(("resamples = 100", named.replace('["mf"]', "[]"))), tmp_path / "none", tiny.store)
