"""Each command ends with the one to type next."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from recalign.cli import main
from recalign.cli.next_step import after_evaluate, after_prepare, after_recommend, command_line, tell_next

# They run until they are stopped, print what was asked for, or have what to do next in a file that they write.
NO_NEXT = {"config", "serve", "export", "push", "score"}


def test_all_commands_say_what_comes_next() -> None:
    callbacks = [command.callback for command in main.app.registered_commands if command.callback]
    assert len(callbacks) > 15
    sources = {callback.__name__: inspect.getsource(sys.modules[callback.__module__]) for callback in callbacks}
    assert {name for name, source in sources.items() if "tell_next(" not in source} <= NO_NEXT


def test_the_next_command_can_be_pasted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/recalign"])
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/recalign")
    tell_next(("tune", "--data", Path("my data")), ("audit", "x"))
    assert capsys.readouterr().out == "next: recalign tune --data 'my data'\n      recalign audit x\n"
    tell_next(("audit", "x"), err=True)
    assert capsys.readouterr() == ("", "next: recalign audit x\n")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "argv", [".venv/bin/recalign"])
    assert command_line("audit", "x") == ".venv/bin/recalign audit x"
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert command_line("audit", "x") == "recalign audit x"


def test_a_model_is_proposed_in_one_place_after_prepare_and_after_a_prior() -> None:
    tune = ("tune", "--data", Path("data/games"), "--output", Path("runs/games"))
    assert after_prepare(Path("data/games"))[0] == tune
    assert after_evaluate(["prior:like-rate"], Path("data/games")) == (tune,)


def test_a_model_is_asked_and_shown_as_a_page_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = Path("data/games"), tmp_path / "first try"
    model.mkdir()
    recommend, page = after_evaluate(["prior:recent", str(model)], data)
    assert recommend == ("recommend", model, "--likes", "TITLE")
    assert page == ("page", model, "--data", data, "--output", "first try.html")
    monkeypatch.chdir(model)
    assert after_evaluate(["."], data)[1][-1] == "first try.html"
    assert after_prepare(Path())[0][-1] == Path("runs/first try")


def test_reasons_and_server_use_the_catalogue_and_index_that_were_given() -> None:
    run, data, index = Path("runs/games"), Path("data/new"), Path("index")
    assert after_recommend(run, None, None, why=False) == (("serve", run),)
    assert after_recommend(run, data, index, why=True) == (
        ("recommend", run, "--data", data, "--index", index, "--likes", "TITLE", "--explain"),
        ("serve", run, "--data", data, "--index", index),
    )
