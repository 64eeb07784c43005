"""`recalign baseline`, and `recalign evaluate` of what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.evaluation.document import Panel

from .conftest import Cli

SMALL = ("--set", "max_steps=20", "--set", "weight_decays=[1e-4, 1e-6]", "--set", "width=8", "--set", "embedding=8")


@pytest.fixture
def trained(cli: Cli, workshop: Path, tmp_path: Path) -> Path:
    code, out, err = cli(
        "baseline", "gru4rec", "--data", workshop / "data", "-o", tmp_path / "gru", "--shots", 16, *SMALL
    )
    assert code == 0, err
    assert "validation AUC 0." in out
    assert f"next: recalign evaluate {tmp_path / 'gru'} --data {workshop / 'data'}" in out
    return tmp_path / "gru"


def test_it_is_evaluated_like_a_model_and_its_test_reads_are_logged(cli: Cli, workshop: Path, trained: Path) -> None:
    code, out, err = cli("evaluate", trained, "--data", workshop / "data", "--json", "--resamples", 20)
    assert code == 0, err
    panel = Panel.model_validate_json(out)
    row = panel.rows[0]
    assert row.model == "gru"
    assert row.metrics["logloss"].mean > 0
    assert row.mean("temperature") is not None  # it was selected on validation, so that may calibrate it, too
    assert row.verdicts["auc"].prior.startswith("prior:")
    reads = read_manifest(trained).info["test_reads"]
    assert [(read["model"], read["n"]) for read in reads] == [("gru", panel.n)]


def test_a_model_selected_on_nothing_is_not_calibrated(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    options = ("--selection", "last", "--set", "weight_decays=[1e-5]", "--set", "max_steps=10")
    code, out, err = cli("baseline", "caser", "--data", workshop / "data", "-o", tmp_path / "b", *options)
    assert code == 0, err
    assert "validation AUC none" in out
    out = cli("evaluate", tmp_path / "b", "--data", workshop / "data", "--json", "--resamples", 20)[1]
    assert Panel.model_validate_json(out).rows[0].mean("temperature") is None


def test_what_is_wrong_is_one_line(cli: Cli, workshop: Path, tmp_path: Path, trained: Path) -> None:
    common = ("--data", workshop / "data", "-o", tmp_path / "b")
    cases = [
        (("baseline", "gru4", *common), "unknown baseline 'gru4'"),
        (("baseline", "gru-bert", *common), "baseline gru-bert; found no text encoder"),
        (("baseline", "gru4rec", *common, "--set", "width"), "--set; found 'width'"),
        (("baseline", "gru4rec", *common, "--set", "depth=3"), "depth"),
        (("baseline", "gru4rec", *common, "--shots", "100000"), "at least K = 100000"),
        (("evaluate", trained, "--data", workshop / "data", "--score", "paper"), "found a baseline"),
    ]
    for arguments, expected in cases:
        code, _, err = cli(*arguments)
        assert code == 2, arguments
        assert expected in err
        assert err.count("\n") == 1
    assert not (tmp_path / "b").exists()
