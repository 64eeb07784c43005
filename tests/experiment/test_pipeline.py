"""The whole way through the command line, with own data and backbones of several architectures, unchanged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.artifacts import read_manifest
from recalign.cli.main import run
from recalign.data.samples import SampleSet
from recalign.evaluation.document import Panel
from recalign.testing.tiny import make_tiny

Cli = Callable[..., tuple[str, str]]

KINDS = ("Stiefel", "Sandale", "Turnschuh", "Pantoffel", "Halbschuh")
COLOURS = ("rot", "grün", "blau", "weiß", "schwarz")
SHOES = [f"{kind} {colour}" for kind in KINDS for colour in COLOURS]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line as the program does; it must end well."""

    def call(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["recalign", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run()
        captured = capsys.readouterr()
        assert not stop.value.code, captured.err
        return captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings as a shop may have them: own column names, ``;``, decimal comma-free stars, titles instead of ids."""
    rows = ["KundenNr;Artikel;Sterne;Zeit"]
    for customer in range(12):
        for place in range(9):
            number = (customer * 7 + place * 4) % len(SHOES)
            stars = 5 if (number // len(COLOURS) + customer) % 2 else 2
            rows.append(f"K{customer};{SHOES[number]};{stars};{1_600_000_000 + customer * 1000 + place}")
    path = tmp_path_factory.mktemp("shop") / "bewertungen.csv"
    path.write_text("\n".join([*rows, ""]), encoding="utf-8")
    return path


def prepare(cli: Cli, shop: Path, output: Path) -> str:
    return cli(
        "prepare", "table", "--input", shop, "--output", output, "--columns", "user_id=KundenNr",
        "--columns", "item_id=Artikel", "--columns", "title=Artikel", "--columns", "rating=Sterne",
        "--columns", "timestamp=Zeit", "--like-above", 3, "--language", "de", "--noun", "Schuh",
        "--noun-plural", "Schuhe",
    )[0]  # fmt: skip


FAST = ("--set", "max_steps=3", "--set", "batch_size=8", "--set", "precision=fp32", "--set", "optim.lr=1e-2")


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2", "gpt2"])
def test_own_data_in_three_commands_on_any_backbone(tmp_path: Path, cli: Cli, shop: Path, architecture: str) -> None:
    backbone = make_tiny(tmp_path / "backbone", architecture, lines=SHOES, max_positions=512)
    data, model = tmp_path / "schuhe", tmp_path / "modell"
    prepare(cli, shop, data)
    told = cli("tune", "--data", data, "--backbone", backbone, "--output", model, *FAST)[1]
    assert f"recalign evaluate {model}" in told.replace("\n", "")
    manifest = read_manifest(model, kind="model")
    assert manifest.config["stage"]["mode"] == "lora"
    assert manifest.config["domain"]["noun"] == "Schuh"
    table = cli("recommend", model, "--likes", "stiefel rot", "--dislikes", "Sandale weiss", "-k", 3)[0]
    assert "Likes:    Stiefel rot" in table
    assert "Dislikes: Sandale weiß" in table

    panel = Panel.model_validate_json(cli("evaluate", model, "--data", data, "--json", "--resamples", 50)[0])
    assert panel.n == len(SampleSet.load(data).frame("test")) == 12
    assert {"auc", "gauc", "logloss", "ece"} <= set(panel.rows[0].metrics)
    assert (panel.rows[0].model, panel.rows[0].kind) == ("modell", "tuned")
    assert len(read_manifest(model).info["test_reads"]) == 1
    ranked = json.loads(cli("recommend", model, "--likes", "stiefel rot", "-k", 3, "--json", "--explain")[0])
    assert [item["rank"] for item in ranked["items"]] == [1, 2, 3]
    assert {item["title"] for item in ranked["items"]} <= set(SHOES)


def test_stages_from_the_command_line(tmp_path: Path, cli: Cli, shop: Path) -> None:
    backbone = make_tiny(tmp_path / "backbone", "llama", lines=SHOES, max_positions=512)
    data = tmp_path / "schuhe"
    prepare(cli, shop, data)
    common = ("--data", data, "--backbone", backbone, *FAST)
    cli(
        "tune",
        *common,
        "--kind",
        "instruction",
        "--mode",
        "full",
        "--set",
        "instructions=20",
        "--output",
        tmp_path / "it",
    )
    cli("tune", *common, "--parent", tmp_path / "it", "--mode", "full", "--output", tmp_path / "rt")
    cli(
        "tune", *common, "--parent", tmp_path / "rt", "--shots", 8, "--selection", "paper", "--seed", 3,
        "--template", "default", "--output", tmp_path / "few",
    )  # fmt: skip
    manifest = read_manifest(tmp_path / "few")
    assert manifest.parents["parent"] == read_manifest(tmp_path / "rt").fingerprint
    prepared = SampleSet.load(data)
    [seen] = manifest.config["labels_seen"].values()
    assert seen["train"] == len(prepared.frame("train"))
    assert seen["valid"] == len(prepared.frame("valid"))


def test_a_run_and_its_backbone_can_move_together(tmp_path: Path, cli: Cli, shop: Path) -> None:
    here = tmp_path / "here"
    make_tiny(here / "backbone", "llama", lines=SHOES, max_positions=512)
    prepare(cli, shop, here / "schuhe")
    cli("tune", "--data", here / "schuhe", "--backbone", here / "backbone", "--output", here / "modell", *FAST)
    arguments = ("--likes", "stiefel rot", "-k", 3, "--json")
    before = cli("recommend", here / "modell", *arguments)[0]
    here.rename(tmp_path / "there")
    assert cli("recommend", tmp_path / "there" / "modell", *arguments)[0] == before
