"""`recalign tune`: options become a stage; signals and kills cost nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recalign import load_scorer, tune
from recalign.artifacts import read_manifest
from recalign.data.samples import SampleSet
from recalign.errors import ConfigError

Cli = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]


def options(workshop: Path, output: Path, *more: object) -> tuple[object, ...]:
    return (
        *("tune", "--data", workshop / "data", "--backbone", workshop / "backbone", "--output", output),
        *("--dtype", "float32", "--set", "max_steps=2", "--set", "batch_size=4", "--set", "precision=fp32", *more),
    )


def adapter(model: Path) -> bytes:
    return (model / "adapter" / "adapter_model.safetensors").read_bytes()


def test_options_and_settings_reach_the_stage(tmp_path: Path, cli: Cli, workshop: Path) -> None:
    more = (
        "--shots",
        8,
        "--selection",
        "strict-k",
        "--seed",
        4,
        "--template",
        "tlrec",
        "--set",
        "optim.betas=[0.8, 0.9]",
    )
    code, out, err = cli(*options(workshop, tmp_path / "model", *more, "--set", "lora.targets=['q_proj']"))
    assert (code, out) == (0, "")
    config = read_manifest(tmp_path / "model").config
    stage: dict[str, Any] = config["stage"]
    expected = {"kind": "rec", "mode": "lora", "shots": 8, "selection": "strict-k", "seed": 4, "template": "tlrec"}
    assert {key: stage[key] for key in expected} == expected
    assert (stage["max_steps"], stage["optim"]["betas"], stage["lora"]["targets"]) == (2, [0.8, 0.9], ["q_proj"])
    assert config["backbone"]["dtype"] == "float32"
    assert "model: 2/2 steps  loss " in err
    assert f"next: recalign evaluate {tmp_path / 'model'}" in err.replace("\n", "")


def test_the_library_takes_paths_as_text_and_settings_of_nano(tmp_path: Path, workshop: Path) -> None:
    small = {
        "steps": 1,
        "hidden": 32,
        "layers": 1,
        "heads": 2,
        "intermediate": 64,
        "vocabulary": 800,
        "instructions": 9,
    }
    settings = {"max_steps": 1, "batch_size": 2, "shots": 2, "nano": small}
    data = str(workshop / "data")
    model = tune([data], str(tmp_path / "rt"), settings=settings)
    assert model == tmp_path / "rt"
    child = tune([data], str(tmp_path / "child"), parent=str(model), settings={**settings, "mode": "lora"})
    assert read_manifest(child).parents["parent"] == read_manifest(model).fingerprint
    assert load_scorer(str(model), SampleSet.load(workshop / "data")).name == "rt"
    with pytest.raises(ConfigError, match=r"nano; found stepz: unknown key, did you mean steps\?"):
        tune([data], tmp_path / "x", settings={"nano": {"stepz": 1}})


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_quantization_of_a_parents_backbone_is_not_ignored(tmp_path: Path, cli: Cli, workshop: Path) -> None:
    assert cli(*options(workshop, tmp_path / "rt"))[0] == 0
    given = ("--parent", tmp_path / "rt", "--quantization", "4bit")
    code, _, err = cli("tune", "--data", workshop / "data", "--output", tmp_path / "q", *given)
    assert code == 2
    assert "quantization" in err
    assert not (tmp_path / "q").exists()


def test_a_finished_model_is_not_tuned_again(tmp_path: Path, cli: Cli, workshop: Path) -> None:
    assert cli(*options(workshop, tmp_path / "model"))[0] == 0
    before = adapter(tmp_path / "model")
    code, _, err = cli(*options(workshop, tmp_path / "model"))
    assert code == 0
    assert "already tuned" in err
    assert "step" not in err
    code, _, err = cli(*options(workshop, tmp_path / "model", "--seed", 1))
    assert code == 2
    assert err.startswith("recalign: ")
    assert err.count("\n") == 1
    assert "--restart" in err
    assert adapter(tmp_path / "model") == before
    assert cli(*options(workshop, tmp_path / "model", "--seed", 1, "--restart"))[0] == 0
    assert adapter(tmp_path / "model") != before


@pytest.mark.parametrize(
    ("more", "found"), [(("--processes", 0), "found processes = 0"), (("--shard",), "found one process")]
)
def test_wrong_numbers_of_processes_are_one_line(
    tmp_path: Path, cli: Cli, workshop: Path, more: tuple[object, ...], found: str
) -> None:
    code, _, err = cli(*options(workshop, tmp_path / "model", *more))
    assert code == 2
    assert err.startswith("recalign: ")
    assert err.count("\n") == 1
    assert found in err
    assert not (tmp_path / "model").exists()


def steps_saved(model: Path) -> int:
    return max(
        (int(path.name[-8:]) for path in model.parent.glob(f".{model.name}.checkpoints/step-????????")), default=0
    )


def wait_for(process: subprocess.Popen[str], model: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while steps_saved(model) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


LONG = ("--set", "max_steps=40", "--set", "checkpoint_steps=1", "--set", "optim.warmup_steps=2")


@pytest.mark.slow
def test_sigterm_saves_says_so_and_goes_on(tmp_path: Path, cli: Cli, start: Start, workshop: Path) -> None:
    model = tmp_path / "model"
    more = ("--set", "max_steps=40", "--set", "checkpoint_steps=7", "--set", "optim.warmup_steps=2")
    process = start(*options(workshop, model, *more))
    wait_for(process, model, 7)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("recalign: stopped after step ")
    assert "same command again" in last
    assert not model.exists()
    assert cli(*options(workshop, model, *more))[0] == 0
    assert cli(*options(workshop, tmp_path / "whole", *more))[0] == 0
    assert adapter(model) == adapter(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 17])
def test_kill_9_and_the_same_command_give_the_same_bytes(
    tmp_path: Path, cli: Cli, start: Start, workshop: Path, step: int
) -> None:
    """The kill comes at whatever moment the program is in by then."""
    model = tmp_path / "model"
    process = start(*options(workshop, model, *LONG))
    wait_for(process, model, step)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not model.exists()
    assert cli(*options(workshop, model, *LONG))[0] == 0
    assert cli(*options(workshop, tmp_path / "whole", *LONG))[0] == 0
    assert adapter(model) == adapter(tmp_path / "whole")
    log = [(each / "metrics.jsonl").read_bytes() for each in (model, tmp_path / "whole")]
    assert log[0] == log[1]
    left = [path.name for path in tmp_path.iterdir() if "staging" in path.name or "checkpoints" in path.name]
    assert left == []
