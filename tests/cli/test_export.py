"""`recalign export`: a model of a run as a directory of its own; what cannot be exported is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from recalign import export, tune
from recalign.artifacts import read_manifest
from recalign.tuning.export_card import CONVERSIONS

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Path:
    settings = {"max_steps": 1, "batch_size": 2, "shots": 4, "precision": "fp32"}
    output = tmp_path_factory.mktemp("export") / "rt"
    return tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


def test_the_command_writes_what_the_function_writes(tmp_path: Path, cli: Cli, model: Path) -> None:
    code, out, err = cli("export", model, "--to", "merged", "--output", tmp_path / "out")
    assert (code, err) == (0, "")
    assert out.replace("\n", " ").split()[:3] == ["merged", "model:", str(tmp_path / "out")]
    assert str(tmp_path / "out" / "README.md") in out
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.model_type == "llama"
    again = export(str(model), to="merged", output=str(tmp_path / "again"))
    assert read_manifest(again).fingerprint == read_manifest(tmp_path / "out").fingerprint


def test_for_gguf_the_commands_are_printed(tmp_path: Path, cli: Cli, model: Path) -> None:
    code, out, err = cli("export", model, "--to", "gguf", "--output", tmp_path / "an out")
    assert (code, err) == (0, "")
    assert out.splitlines()[-3] == f"cd '{tmp_path / 'an out'}'"
    assert out.splitlines()[-2:] == list(CONVERSIONS["gguf"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--to", "onnx", "--output", "out"), "export to 'onnx'; expected merged, peft, gguf"),
        (("--to", "merged"), "Missing option '--output'"),
        (("--output", "out"), "Missing option '--to'"),
    ],
)
def test_wrong_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, model: Path, options: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("export", model, *options)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there(tmp_path: Path, cli: Cli) -> None:
    code, _, err = cli("export", tmp_path / "nowhere", "--to", "merged", "--output", tmp_path / "out")
    assert code == 2
    assert "nowhere is no artefact of recalign; found no such directory" in err
