"""`evaluate`, `audit` and `recommend` tell their progress where they take long, and nothing where they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign import tune
from recalign.cli import progress
from recalign.data.samples import SampleSet

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Path:
    settings = {"max_steps": 1, "batch_size": 2, "shots": 4, "precision": "fp32"}
    output = tmp_path_factory.mktemp("answers") / "rt"
    return tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


@pytest.fixture(params=["evaluate", "in-context", "audit", "recommend"])
def command(request: pytest.FixtureRequest, workshop: Path, model: Path) -> tuple[tuple[object, ...], str]:
    """A command line, and the last line of its progress."""
    data, backbone = workshop / "data", workshop / "backbone"
    samples, catalog = SampleSet.load(data), SampleSet.load(data).catalog
    tests = len(samples.frame("test"))
    untuned = "in-context backbone 0-shot"
    liked = f"id:{catalog.ids[0]}"
    return {
        "evaluate": (("evaluate", model, "--data", data, "--no-calibrate"), f"rt: {tests}/{tests} samples"),
        "in-context": (
            ("evaluate", "in-context", "--backbone", backbone, "--data", data),
            f"{untuned}: {tests}/{tests} samples",
        ),
        "audit": (
            ("audit", data, "--backbone", backbone),
            f"audit: {len(samples.table())}/{len(samples.table())} prompts",
        ),
        "recommend": (
            ("recommend", model, "--likes", liked),
            f"recommend: {len(catalog) - 1}/{len(catalog) - 1} items",
        ),
    }[str(request.param)]


def test_long_work_is_told_once_to_its_end(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[tuple[object, ...], str]
) -> None:
    monkeypatch.setattr(progress, "SHORT_SECONDS", 1e-9)
    code, out, err = cli(*command[0])
    assert code == 0
    assert command[1] not in out
    assert [line for line in err.splitlines() if not line.startswith(("priors: ", "intervals and "))] == [command[1]]


def test_short_work_says_nothing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[tuple[object, ...], str]
) -> None:
    monkeypatch.setattr(progress, "SHORT_SECONDS", 3600.0)
    code, _, err = cli(*command[0])
    assert (code, err) == (0, "")
