"""GGUF files written here come back as the checkpoints they were made from; what is not whole or known is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from recalign.artifacts import hash_file, read_manifest
from recalign.errors import ArtifactError, ModelError
from recalign.models import gguf_import
from recalign.models.backbone import load_backbone
from recalign.models.config import BackboneConfig
from recalign.models.gguf_import import PROBE, import_gguf
from recalign.models.hf_checkpoint import inspect_checkpoint
from recalign.testing.tiny import make_tiny

pytest.importorskip("gguf")
from recalign.testing.gguf import write_gguf

LINES = ["The 2nd film (1995): 12 of 30", "1. Heat (1995)", "digits 1234567890 and  spaces\n\n1. 19 95"] * 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    return make_tiny(folder / "tiny", lines=LINES, vocabulary=400, tie_word_embeddings=True)


@pytest.fixture(scope="module")
def file(checkpoint: Path) -> Path:
    return write_gguf(checkpoint, checkpoint.parent / "tiny.gguf")


@pytest.fixture(scope="module")
def imported(checkpoint: Path, file: Path) -> Path:
    return import_gguf(file, checkpoint.parent / "imported")


def test_the_weights_come_back(checkpoint: Path, imported: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, imported))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]), name
    config = json.loads((imported / "config.json").read_bytes())
    assert config["dtype"] == "float32"
    assert config["tie_word_embeddings"] is True
    assert not {"quantization_config", "_name_or_path", "_model_name_or_path"} & config.keys()


def test_text_is_cut_digit_by_digit(checkpoint: Path, imported: Path) -> None:
    expected = AutoTokenizer.from_pretrained(checkpoint)
    by_digit = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    plain = expected(PROBE, add_special_tokens=False)["input_ids"]
    expected.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(by_digit)
    ids = expected(PROBE, add_special_tokens=False)["input_ids"]
    assert ids != plain
    loaded = load_backbone(BackboneConfig(name=str(imported), device="cpu"))
    assert loaded.tokenizer(PROBE)["input_ids"] == ids
    assert loaded.tokenizer.all_special_tokens == expected.all_special_tokens[:2]
    assert loaded.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_the_record_says_what_it_is(file: Path, imported: Path) -> None:
    manifest = read_manifest(imported, kind=gguf_import.KIND)
    assert manifest.config == {"gguf": hash_file(file).sha256, "dtype": "float32"}
    assert manifest.info["name"] == "Tiny Llama, F32 dequantised"
    assert manifest.info["licence"] == "apache-2.0"
    assert inspect_checkpoint(imported, "tiny").licence() == "apache-2.0"


def test_twice_the_same_whatever_the_file_is_called(tmp_path: Path, file: Path, imported: Path) -> None:
    shutil.copy(file, tmp_path / "renamed.gguf")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "astray"}')
    again = import_gguf(tmp_path / "renamed.gguf", tmp_path / "again")
    assert read_manifest(again).fingerprint == read_manifest(imported).fingerprint
    assert inspect_checkpoint(again, "a").fingerprint() == inspect_checkpoint(imported, "b").fingerprint()


def test_a_known_file_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    origin = gguf_import.Origin("Known, Q4_1 dequantised", "a package", "mit")
    monkeypatch.setattr(gguf_import, "KNOWN", {hash_file(file).sha256: origin})
    imported = import_gguf(file, tmp_path / "known")
    assert read_manifest(imported).info["name"] == "Known, Q4_1 dequantised"
    assert "a package" in (imported / "README.md").read_text()


@pytest.mark.parametrize("end", [2, 20, 3000, -300_000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, file: Path, end: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:end])
    with pytest.raises(ModelError, match=r"cut\.gguf is (damaged or cut short|no GGUF file)") as caught:
        import_gguf(cut, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [cut]


def test_a_file_with_another_hash_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ModelError, match=f"found SHA-256 {hash_file(file).sha256}; expected {'0' * 64}"):
        import_gguf(file, tmp_path / "out", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pre": "own-cut"}, r"pre-tokenizer 'own-cut' \(tokenizer.ggml.pre\) is not known; expected .*smollm"),
        ({"pre": "default"}, "pre-tokenizer 'default'"),
        ({"pre": "own-cut", "tokenizer": "llama"}, "pre-tokenizer 'own-cut'"),
        ({"tokenizer": "bert"}, "tokenizer 'bert'"),
    ],
)
def test_a_tokenizer_that_is_not_known_is_refused(
    tmp_path: Path, checkpoint: Path, changes: dict[str, str], says: str
) -> None:
    file = write_gguf(checkpoint, tmp_path / "odd.gguf", **changes)
    with pytest.raises(ModelError, match=says):
        import_gguf(file, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [file]


def test_weights_that_are_missing_or_not_finite_are_refused(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    weights = load_file(checkpoint / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({key: weight for key, weight in weights.items() if key != name}, broken / "model.safetensors")
    with pytest.raises(ModelError, match=r"no weights.*layers\.1\.mlp\.up_proj"):
        import_gguf(write_gguf(broken, tmp_path / "missing.gguf"), tmp_path / "out")
    weights[name][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(ModelError, match=r"not finite in model\.layers\.1\.mlp\.up_proj"):
        import_gguf(write_gguf(broken, tmp_path / "nan.gguf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_import_that_is_there_is_kept(tmp_path: Path, file: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(ArtifactError, match="exists already"):
        import_gguf(file, tmp_path / "out")


def test_without_the_package(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., object] = gguf_import.read_facts.__globals__["importlib"].util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "gguf" else find(name, *rest))
    with pytest.raises(ModelError, match=r"needs the package gguf\. Install it: pip install 'recalign\[gguf\]'"):
        import_gguf(file, tmp_path / "out")
