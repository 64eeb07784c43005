"""`recalign candidates`: counts printed, files frozen, errors in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recalign.data.ranking_lists import read_ranking_candidates
from recalign.data.samples import SampleSet

Cli = Callable[..., tuple[int, str, str]]


def test_lists_are_written_and_counted(workshop: Path, tmp_path: Path, cli: Cli) -> None:
    target = tmp_path / "lists"
    code, output, _ = cli("candidates", workshop / "data", "--output", target, "--negatives", "9", "--seed", "3")
    assert code == 0
    lists, manifest = read_ranking_candidates(target, SampleSet.load(workshop / "data"))
    counts = manifest.info["statistics"]
    assert manifest.config == {"negatives": 9, "seed": 3, "split": "test"}
    assert f"test: {counts['samples']} samples of {counts['users']} users; {len(lists)} targets" in output
    assert f"{len(lists)} lists of 10" in output
    assert f"recalign evaluate MODEL --data {workshop / 'data'} --candidates {target}" in output
    code, _, error = cli("candidates", workshop / "data", "--output", target, "--negatives", "9")
    assert code == 2
    assert "exists already" in error
    assert cli("candidates", workshop / "data", "--output", target, "--negatives", "9", "--overwrite")[0] == 0


def test_too_few_items_is_one_clear_line(workshop: Path, tmp_path: Path, cli: Cli) -> None:
    code, _, error = cli("candidates", workshop / "data", "--output", tmp_path / "lists", "--negatives", "400")
    assert code == 2
    assert "fewer --negatives" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "lists").exists()
