"""The error boundary: what a user can act on is one line on stderr and exit code 2; bugs keep their traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recalign import __version__
from recalign.cli import main
from recalign.data.samples import HistoryEntry, Sample
from recalign.errors import ConfigError, Interrupted
from recalign.testing.data import write_sample_set

Cli = Callable[..., tuple[int, str, str]]


def test_every_verb_is_there(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for verb in ("prepare", "audit", "download", "tune", "evaluate", "recommend", "run"):
        assert f" {verb} " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tune",), "recalign tune; found no --data"),
        (("tune", "--data", "nowhere"), "nowhere"),
        (("run", "nowhere.toml"), "experiment nowhere.toml; found no such file"),
        (("tune", "--data", "DATA", "--selection", "best"), "selection"),
        (("tune", "--data", "DATA", "--kind", "dpo"), "expected instruction, cot, rec"),
        (("tune", "--data", "DATA", "--kind", "cot", "--shots", "8"), "shots, a key of kind rec"),
        (("tune", "--data", "DATA", "--set", "optim.lrr=1"), "optim.lrr"),
        (("tune", "--data", "DATA", "--set", "optim"), "expected PATH=VALUE"),
        (("tune", "--data", "DATA", "--set", "seed.deep=1"), "seed"),
        (("tune", "--data", "DATA", "--set", "=1"), "--set"),
        (("tune", "--data", "DATA", "--backbone", "no/such/place"), "no such directory"),
        (("tune", "--data", "DATA", "--backbone", "DATA"), "config.json"),
        (("tune", "--data", "DATA", "--parent", "nowhere"), "nowhere"),
        (("tune", "--data", "DATA", "--template", "no-such"), "unknown prompt template"),
        (("tune", "--data", "EMPTY"), "train split of EMPTY; found no samples"),
        (("tune", "--data", "DATA", "--dtype", "float8"), "dtype"),
        (("evaluate", "nowhere", "--data", "DATA"), "nowhere"),
        (("evaluate", "prior:like-rate", "--data", "nowhere"), "nowhere"),
        (("recommend", "nowhere", "--likes", "Heat"), "nowhere"),
        (("recommend", "DATA", "--likes", "Heat"), "of another kind"),
        (("prepare", "table", "--output", "out"), "input"),
        (("audit", "nowhere"), "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECALIGN_CACHE", str(tmp_path / "cache"))
    sample = Sample("s", "u", "a", 1, (HistoryEntry("a", True),))
    write_sample_set(tmp_path / "DATA", {"a": "Heat (1995)"}, {"train": [sample]})
    write_sample_set(tmp_path / "EMPTY", {"a": "Heat (1995)"}, {})
    before = sorted(tmp_path.rglob("*"))
    code, out, err = cli(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("recalign: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tune", "--shots", "many"), "--shots"),
        (("tune", "--no-such"), "--no-such"),
        (("tune", "experiment.toml"), "experiment.toml"),
        (("prepare",), "dataset"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_wrong_usage_is_one_line_too(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("recalign: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_exits_like_the_signal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def stopped(*_arguments: Any, **_options: Any) -> None:
        raise Interrupted(number, "stopped after step 3 of 9")

    monkeypatch.setattr(main, "app", stopped)
    code, _, err = cli()
    assert code == 128 + number
    assert err == ("recalign: stopped after step 3 of 9. Everything is saved: run the same command again to continue\n")


def test_errors_have_one_line_whatever_they_name(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: Any, **_options: Any) -> None:
        raise ConfigError("a\nb\x1b[31m", found="c")

    monkeypatch.setattr(main, "app", failing)
    assert cli()[2].count("\n") == 1


def test_the_page_that_explains_it_is_named_and_is_there(cli: Cli) -> None:
    code, _, err = cli("audit", __file__)
    assert code == 2
    assert err.count("\n") == 1
    assert "found a file; expected a prepared directory. Make one: recalign prepare " in err
    assert err.endswith(". See the documentation, page data\n")
    docs = Path(__file__).parents[2] / "docs"
    assert [page for page in main.PAGES.values() if not (docs / page).is_file()] == []


def test_an_error_fits_the_terminal_and_its_command_can_be_copied(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    lines = cli("audit", __file__)[2].splitlines()
    assert "    recalign prepare DATASET --input FILE --output DIR" in lines
    assert lines[-1] == "  See the documentation, page data"
    assert all(len(line) <= 80 for line in lines if __file__ not in line)
    assert cli("audti")[2] == "recalign: No such command 'audti'. Did you mean 'audit'? See: recalign --help\n"


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version") == (0, f"recalign {__version__}\n", "")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_options: Any) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(KeyError):
        main.run()
