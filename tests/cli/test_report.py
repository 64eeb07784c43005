"""`recalign report` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from recalign.artifacts import write_directory

Cli = Callable[..., tuple[int, str, str]]


def test_it_says_what_it_wrote(cli: Cli, tmp_path: Path) -> None:
    missing = [{"job": "a", "status": "failed", "reason": "b"}]
    document = {"name": "x", "title": "x", "panels": [], "missing": missing}
    (tmp_path / "results.json").write_text(json.dumps(document), encoding="utf-8")
    code, output, _ = cli("report", tmp_path, "--output", tmp_path / "page.html")
    assert code == 0
    assert output.splitlines() == [
        f"report: {tmp_path / 'page.html'}",
        f"files: {tmp_path / 'page'} (1 tables, 0 figures, results.json)",
        "next: recalign run EXPERIMENT.toml",
    ]
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_directory_without_results_is_an_error(cli: Cli, tmp_path: Path) -> None:
    code, output, told = cli("report", tmp_path)
    assert (code, output) == (2, "")
    assert told.startswith(f"recalign: results {tmp_path / 'results.json'}; ")
    assert "recalign run" in told


def test_a_model_is_told_its_own_commands(cli: Cli, tmp_path: Path) -> None:
    with write_directory(tmp_path / "my model", "model", config={}):
        pass
    code, output, told = cli("report", tmp_path / "my model")
    assert (code, output) == (2, "")
    path = f"'{tmp_path / 'my model'}'"
    assert "found a model; expected the directory of a run, as recalign run makes it." in told
    assert f"recalign evaluate {path} --data DATA" in told
    assert f"recalign page {path} --data DATA" in told
    with write_directory(tmp_path / "data", "samples", config={}):
        pass
    assert "expected the results of a run" in cli("report", tmp_path / "data")[2]


def test_results_of_another_form_are_an_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    code, _, told = cli("report", tmp_path)
    assert code == 2
    assert "recalign run" in told


def test_help_loads_no_matplotlib() -> None:
    code = (
        "import sys\nfrom recalign.cli.main import app\n"
        "try:\n    app(['report', '--help'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "sys.exit(any(name.partition('.')[0] in ('matplotlib', 'jinja2') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
