"""`recalign run`: what it prints and leaves, what it exits with, and that a dry run leaves nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]

# Priors alone are shown, so there is nothing to train.
GOOD = """
name = "small"
title = "Small"

[[panels]]
name = "good"
title = "Good \\u001b]0;ones\\u0007"
data = "good"
resamples = 100

[data.good]
dataset = "synthetic"
users = 14
items = 40
ratings_per_user = 12
max_history = 4
"""
# A data set that cannot be prepared.
BAD = """
[[panels]]
name = "bad"
data = "bad"

[data.bad]
dataset = "movielens-100k"
input = "broken"
"""


# One stage and no panel.
ONE = """
name = "one"
title = "One"
data.only = {{ dataset = "synthetic", users = 14, items = 40, ratings_per_user = 12, max_history = 4 }}
backbones.b = {{ name = "{backbone}", device = "cpu" }}
stages = [{{ name = "rt", data = ["only"], max_steps = {steps}, batch_size = 4, precision = "fp32" }}]
"""

WRONG = """
paper = "some\\u001b[2J"
figures = [{ kind = "bars", title = "x", panel = "y", models = ["z"] }]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "u.data").write_text("no ratings\n")
    return tmp_path


def test_failures_are_listed_the_rest_is_shown_and_the_exit_code_is_1(folder: Path, cli: Cli) -> None:
    (folder / "small.toml").write_text(GOOD + BAD)
    code, out, err = cli("run", "small.toml", "--jobs", 1)
    assert code == 1, err
    assert out.splitlines()[1].strip() == "Results on Good"
    assert "test: 14 samples of 14 users, " in out
    assert not {"\x1b", "\x07"} & {*out, *err}
    assert "prior:like-rate" in out
    assert "failed: bad: " in err
    assert "skipped: panel bad: data that it reads could not be prepared" in err
    assert "results: runs/small/results.json\nreport: runs/small/report.html\n" in out
    assert (folder / "runs" / "small" / "report.html").exists()
    assert "next:" not in out, "there is no model to recommend with"
    results = json.loads((folder / "runs" / "small" / "results.json").read_text())
    assert [(each["job"], each["status"]) for each in results["missing"]] == [
        ("bad", "failed"),
        ("panel bad", "skipped"),
    ]
    assert [panel["name"] for panel in results["panels"]] == ["good"]
    assert (folder / "runs" / "store" / "failed").is_dir()


def test_a_dry_run_counts_and_writes_nothing(folder: Path, cli: Cli) -> None:
    (folder / "small.toml").write_text(GOOD)
    before = sorted(folder.rglob("*"))
    code, out, err = cli("run", "small.toml", "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split() == ["prepare", "0", "1", "0.0", "1", "guessed"]
    assert out.splitlines()[-1].startswith("estimated: 0.00 CPU-hours")
    assert sorted(folder.rglob("*")) == before


def test_a_wrong_file_is_one_line_and_leaves_nothing(folder: Path, cli: Cli) -> None:
    (folder / "small.toml").write_text(WRONG + GOOD)
    code, out, err = cli("run", "small.toml")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "paper " in line
    assert "unknown panel 'y'" in line
    assert "\x1b" not in err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(("option", "value"), [("--jobs", 0), ("--seeds", 0)])
def test_numbers_that_make_no_sense_are_refused(folder: Path, cli: Cli, option: str, value: int) -> None:
    (folder / "small.toml").write_text(GOOD)
    assert cli("run", "small.toml", option, value)[0] == 2


def test_engines_and_trackers_that_do_not_fit_are_refused(folder: Path, cli: Cli) -> None:
    for options, message in (
        (("--engine", "dask"), "--engine; found 'dask'; expected local or ray"),
        (("--ray-address", "auto"), "--ray-address; found --engine local"),
        (("--engine", "ray", "--tracker", "wandb"), "--tracker wandb; found --engine ray; expected --engine local"),
    ):
        code, out, err = cli("run", folder / "none.toml", *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_a_missing_file_or_input_is_one_line(folder: Path, cli: Cli) -> None:
    code, _, err = cli("run", "none.toml")
    assert code == 2
    assert "none.toml" in err
    (folder / "small.toml").write_text(GOOD + BAD.replace("broken", "nowhere"))
    code, _, err = cli("run", "small.toml", "--dry-run")
    assert code == 2
    assert "input nowhere" in err
    assert not (folder / "runs").exists()


def test_a_run_is_used_by_its_names_and_run_again_by_the_same_command(folder: Path, workshop: Path, cli: Cli) -> None:
    """A stage without a panel is tuned; what it left is a model and data to recommend with and to evaluate on."""
    (folder / "one.toml").write_text(ONE.format(backbone=workshop / "backbone", steps=1))
    code, out, err = cli("run", "one.toml")
    assert code == 0, err
    assert "rt: 1/1 steps  loss " in err
    (line,) = [line for line in out.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words[:3] == ["recalign", "recommend", "runs/one/models/rt"]
    code, table, err = cli(*words[1:], "-k", 3)
    assert code == 0, err
    assert words[-1] in table
    given = ("evaluate", "runs/one", "--data", "runs/one/data/only", "--json", "--resamples", 100)
    code, answer, err = cli(*given)
    assert code == 0, err
    assert [row["model"] for row in json.loads(answer)["rows"] if row["kind"] == "tuned"] == ["rt"]

    code, again, err = cli("run", "one.toml")
    assert (code, again) == (0, out)
    assert "rt" not in err
    model = (folder / "runs" / "one" / "models" / "rt").resolve()
    (folder / "one.toml").write_text(ONE.format(backbone=workshop / "backbone", steps=2))
    assert cli("run", "one.toml")[0] == 0
    assert (folder / "runs" / "one" / "models" / "rt").resolve() != model
    assert model.exists()


def test_a_wrong_stage_is_one_line_and_leaves_nothing(folder: Path, workshop: Path, cli: Cli) -> None:
    text = ONE.format(backbone=workshop / "backbone", steps=1).replace("max_steps", "steps")
    (folder / "one.toml").write_text(text + '[[panels]]\nname = "p"\ndata = "only"\nsamples = 100\n')
    code, out, err = cli("run", "one.toml")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "stages.0.steps: unknown key, did you mean" in err
    assert "panels.0.samples" in err
    assert not (folder / "runs").exists()
