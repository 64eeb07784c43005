"""The program as a user calls it, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.cli import main
from recalign.data.samples import SampleSet
from recalign.experiment.prepare import PrepareConfig, prepare
from recalign.testing.tiny import make_tiny

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line with the error boundary: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recalign", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main.run()
        captured = capsys.readouterr()
        code = stop.value.code or 0
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return call


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start a command line as a process of its own, on one core."""

    def popen(*arguments: object) -> subprocess.Popen[str]:
        code = "from recalign.cli.main import run; run()"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return popen


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared ``data`` and a tiny ``backbone``. Tests must not change them."""
    folder = tmp_path_factory.mktemp("workshop")
    settings = {"users": 14, "items": 40, "ratings_per_user": 12}
    prepare(PrepareConfig.build(dataset="synthetic", output=folder / "data", max_history=4, **settings))
    assert SampleSet.load(folder / "data")
    make_tiny(folder / "backbone", "llama")
    return folder
