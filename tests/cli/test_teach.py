"""`recalign teach` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recalign.testing.scripted_teacher import ScriptedTeacher

from .conftest import Cli


def test_the_embedded_teacher_needs_nothing(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    code, out, _ = cli("teach", workshop / "data", "--output", tmp_path / "cot", "--filter", "valid-only")
    assert code == 0
    assert "hit rate: " in out
    assert "chance 0." in out
    assert out.splitlines()[-1] == str(tmp_path / "cot")
    counts = [len((tmp_path / "cot" / f"stage{step}.jsonl").read_text().splitlines()) for step in (1, 2, 3)]
    assert counts[0] == counts[1] == counts[2] > 0


def test_a_dry_run_calls_nobody_and_shows_everything(cli: Cli, workshop: Path, tmp_path: Path) -> None:
    with ScriptedTeacher() as server:
        options = ("--teacher", "openai:m", "--base-url", server.base_url, "--price-in", 10, "--price-out", 30)
        code, out, _ = cli("teach", workshop / "data", "--dry-run", *options)
        assert server.requests == []
    assert code == 0
    assert "openai:m (not called)" in out
    assert "cost: about" in out
    for step in (1, 2, 3):
        assert f"--- prompt of step {step}" in out
    assert "<Answer 2>: 1. " in out
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_with_its_ledger_beside_the_output(
    cli: Cli, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "abc")
    with ScriptedTeacher() as server:
        options = ["--teacher", "openai:m", "--base-url", server.base_url, "--key-env", "TEST_KEY", "--limit", 40]
        options += ["--filter", "valid-only", "--set", "attempts=2", "--set", "concurrency=2"]
        code, out, err = cli("teach", workshop / "data", "-o", tmp_path / "cot", *options)
        assert (code, "answers: about" in err) == (0, True), err
        sent = len(server.requests)
        assert f"calls: {sent}; answers from the ledger: 0" in out
        again, out, _ = cli("teach", workshop / "data", "-o", tmp_path / "cot", "--overwrite", *options)
        assert again == 0
        assert len(server.requests) == sent
        assert f"calls: 0; answers from the ledger: {sent}" in out
    assert {path.name for path in tmp_path.iterdir()} == {"cot", "cot.ledger.sqlite"}
    assert json.loads((tmp_path / "cot" / "manifest.json").read_text())["kind"] == "cot"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--teacher", "gpt-4"], "unknown teacher 'gpt-4'; expected heuristic, hf, openai"),
        (["--teacher", "openai:m", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY; found no API key"),
        (["--set", "sizes=3"], "sizes: unknown key, did you mean size?"),
        (["--set", "size"], "expected PATH=VALUE"),
        (["--set", "size=many"], "size: Input should be a valid integer"),
        (["--max-cost", "3"], "max_cost needs price_in and price_out"),
        (["--teacher", "hf:no/such/folder/here"], "no/such/folder/here"),
    ],
)
def test_mistakes_are_told_in_one_line(
    cli: Cli, workshop: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    code, _, err = cli("teach", workshop / "data", "--output", tmp_path / "cot", *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_an_output_is_needed(cli: Cli, workshop: Path) -> None:
    code, _, err = cli("teach", workshop / "data")
    assert (code, "--output DIR, or --dry-run" in err) == (2, True)
    code, _, err = cli("teach", workshop / "data", "--set", "temperature=0", "--output", workshop)
    assert "exists already" in err
