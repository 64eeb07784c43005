"""`recalign push` as a user calls it; what arrives is tested with the function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest

from recalign import tune
from recalign.testing.scripted_hub import TOKEN, ScriptedHub

Cli = Callable[..., tuple[int, str, str]]
BASE = ("--base-model", "owner/base", "--license", "mit")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Path:
    settings = {"max_steps": 1, "batch_size": 2, "shots": 4, "precision": "fp32"}
    output = tmp_path_factory.mktemp("push") / "rt"
    return tune([workshop / "data"], output, backbone=str(workshop / "backbone"), settings=settings)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedHub]:
    with ScriptedHub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_it_says_what_goes_where_and_to_whom(cli: Cli, model: Path, hub: ScriptedHub) -> None:
    code, planned, err = cli("push", model, "owner/shoes", *BASE, "--dry-run")
    assert (code, err, hub.requests) == (0, "", [])
    *files, results, trained, sent = planned.splitlines()
    assert [line.split()[1] for line in files] == [
        *("README.md", "adapter_config.json", "adapter_model.safetensors", "recalign.json", "template.toml"),
    ]
    assert results == "results in the card: none, for this model is in no run"
    assert trained == "trained on data, 4 labels, licence: not known here"
    assert sent == "nothing was sent; without --dry-run these files go to owner/shoes, for its owner alone"

    code, out, err = cli("push", model, "owner/shoes", *BASE)
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == [*files, results, trained]
    commit = hub.repositories["owner/shoes"].commits[-1][:12]
    assert out.splitlines()[-1] == f"pushed: {hub.address}/owner/shoes (private), commit {commit}"
    code, out, _ = cli("push", model, "owner/shoes", *BASE, "--public")
    place = f"{hub.address}/owner/shoes (public), commit {commit}"
    assert out.splitlines()[-1] == f"up to date, nothing to push: {place}"


def test_a_refusal_is_one_line(cli: Cli, model: Path, hub: ScriptedHub) -> None:
    for arguments, says in (
        ((model, "shoes", *BASE), "repository; found 'shoes'; expected a hub id, owner/name"),
        ((model / "nowhere", "owner/shoes", *BASE), "nowhere is no artefact of recalign"),
        ((model, "owner/shoes"), "base backbone of the LoRA; found a directory; expected a hub id. Name the model"),
    ):
        code, out, err = cli("push", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert says in err
        assert TOKEN not in err
    assert hub.repositories == {}
