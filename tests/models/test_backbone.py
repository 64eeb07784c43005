"""Backbones: loaded without the network, known by their files, and refused in one line when they cannot be used."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from recalign.errors import ModelError
from recalign.models import backbone as module
from recalign.models import hf_checkpoint as checkpoint_module
from recalign.models.backbone import UNLIMITED, Backbone, BackboneConfig, load_backbone, resolve_device, resolve_dtype
from recalign.testing.tiny import ARCHITECTURES, make_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load(directory: Path | str, **options: Any) -> Backbone:
    return load_backbone(BackboneConfig(name=str(directory), **{"device": "cpu", **options}))


@pytest.fixture
def llama(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copytree(checkpoints["llama"], tmp_path / "llama"))


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    document = json.loads(path.read_text()) | changes
    removed = [key for key, value in changes.items() if value is None]
    path.write_text(json.dumps({key: value for key, value in document.items() if key not in removed}))


# ---- loading ----


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_local_directory_without_network(
    checkpoints: dict[str, Path], network: list[Any], architecture: str, capfd: pytest.CaptureFixture[str]
) -> None:
    backbone = load(checkpoints[architecture])
    assert network == []
    assert (backbone.name, backbone.revision) == (str(checkpoints[architecture]), None)
    assert backbone.max_positions == 1024
    assert backbone.model.dtype == torch.float32
    assert not backbone.model.training
    assert backbone.model.config._attn_implementation == ("eager" if architecture == "gemma2" else "sdpa")
    text = 'Will the user like "Amélie (2001)" 千と千尋?'
    ids = backbone.tokenizer(text).input_ids
    assert backbone.tokenizer.decode(ids, skip_special_tokens=True) == text
    assert torch.isfinite(backbone.model(torch.tensor([ids])).logits).all()
    assert capfd.readouterr() == ("", "")


def test_padding_token(checkpoints: dict[str, Path]) -> None:
    tokens = {name: load(path).tokenizer for name, path in checkpoints.items()}
    found = {name: (tokenizer.pad_token, len(tokenizer)) for name, tokenizer in tokens.items()}
    assert {name: pad for name, (pad, _) in found.items()} == {
        "llama": "</s>",
        "mistral": "</s>",
        "qwen2": "<|endoftext|>",
        "qwen3": "<|endoftext|>",
        "gemma2": "<pad>",
        "gpt2": "<|endoftext|>",
    }
    for name, path in checkpoints.items():
        backbone = load(path)
        assert backbone.pad_id == backbone.tokenizer.pad_token_id
        assert len(backbone.tokenizer) == backbone.model.get_input_embeddings().weight.shape[0], name


def test_tokenizer_without_special_tokens(llama: Path) -> None:
    edit(llama / "tokenizer_config.json", bos_token=None, eos_token=None, unk_token=None)
    backbone = load(llama)
    assert backbone.pad_id == 0
    assert backbone.tokenizer.pad_token is None


def test_padding_token_without_an_embedding(llama: Path) -> None:
    document = json.loads((llama / "tokenizer.json").read_text())
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document["added_tokens"].append({"id": 5000, "content": "[PAD]", **token})
    (llama / "tokenizer.json").write_text(json.dumps(document))
    edit(llama / "tokenizer_config.json", pad_token="[PAD]")
    assert load(llama).tokenizer.pad_token == "</s>"


def test_sharded_checkpoint(llama: Path) -> None:
    whole = load(llama)
    shutil.rmtree(llama)
    whole.model.save_pretrained(llama, max_shard_size="20KB")
    whole.tokenizer.save_pretrained(llama)
    assert len(list(llama.glob("model-*.safetensors"))) > 1
    backbone = load(llama)
    ids = torch.tensor([backbone.tokenizer("Heat (1995)").input_ids])
    assert torch.equal(backbone.model(ids).logits, whole.model(ids).logits)
    shard = sorted(llama.glob("model-*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(ModelError, match=f"is incomplete; found no file {shard.name}"):
        load(llama)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype(checkpoints: dict[str, Path], dtype: str) -> None:
    assert load(checkpoints["qwen3"], dtype=dtype).model.dtype == getattr(torch, dtype)


def test_automatic_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native: native)
        assert resolve_dtype("auto", torch.device("cuda")) == expected


def test_attention_choice(checkpoints: dict[str, Path]) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    sdpa, eager = (load(checkpoints["llama"], attn_implementation=name) for name in ("sdpa", "eager"))
    assert eager.model.config._attn_implementation == "eager"
    expected = eager.model(ids).logits
    assert (sdpa.model(ids).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    with pytest.raises(ModelError, match=r"cannot load the backbone .*gemma2; found .*"):
        load(checkpoints["gemma2"], attn_implementation="sdpa")


def test_soft_caps_matter_in_the_tiny_gemma(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["gemma2"]).model
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    capped = model(ids).logits
    for layer in model.model.layers:
        layer.self_attn.attn_logit_softcapping = None
    assert (model(ids).logits - capped).abs().max() > 1e-3
    assert capped.abs().max() <= 0.5


@pytest.mark.parametrize(("field", "value"), [("max_position_embeddings", 77), ("n_positions", 78)])
def test_max_positions(field: str, value: int) -> None:
    class Config:
        def get_text_config(self) -> Config:
            return self

    config = Config()
    assert module.position_limit(config) == UNLIMITED
    setattr(config, field, value)
    assert module.position_limit(config) == value


# ---- fingerprint ----


def test_fingerprint_knows_the_files_not_the_place(llama: Path, checkpoints: dict[str, Path]) -> None:
    original = load(checkpoints["llama"]).fingerprint
    assert load(llama).fingerprint == original
    edit(llama / "config.json", transformers_version="99.0")
    (llama / "README.md").write_text("hello")
    assert load(llama).fingerprint == original
    edit(llama / "config.json", rms_norm_eps=1e-5)
    assert load(llama).fingerprint != original


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json"])
def test_fingerprint_notices_one_changed_file(llama: Path, name: str) -> None:
    original = load(llama).fingerprint
    content = (llama / name).read_bytes()
    (llama / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("rs") else content + b"\n")
    assert load(llama).fingerprint != original


def test_architectures_and_seeds_differ(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    paths = [*checkpoints.values(), make_tiny(tmp_path / "seed", seed=1)]
    assert len({load(path).fingerprint for path in paths}) == len(paths)
    assert load(make_tiny(tmp_path / "same")).fingerprint == load(checkpoints["llama"]).fingerprint


# ---- refusals, each in one line ----


def refused(directory: Path | str, match: str, **options: Any) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(directory, **options)
    assert "\n" not in str(caught.value)


def test_names_that_are_no_checkpoint(llama: Path, network: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(llama)  # what "../x" is must not depend on where the tests are run
    for name in ("./nowhere", "/no/such/place", "../x", "a/b/c", "models/x.gguf", "two words", "~/nowhere-at-all"):
        refused(name, "found no such directory; expected a checkpoint directory or a hub id")
    refused(llama / "config.json", "found a file; expected a checkpoint directory")
    refused("nano", "found no checkpoint; expected it to be built first")
    refused(llama, "revision 'main'; found .* a local directory", revision="main")
    assert network == []


def test_directory_without_model(tmp_path: Path, llama: Path) -> None:
    refused(tmp_path, r"found no config\.json in .*save_pretrained")
    for content in (b"{", b"\xff", b"[" * 100_000):
        (llama / "config.json").write_bytes(content)
        refused(llama, r"cannot read .*config\.json")
    (llama / "config.json").write_text("[]")
    refused(llama, "found list; expected a JSON object")


def test_adapter_is_no_backbone(llama: Path, network: list[Any]) -> None:
    (llama / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}')
    refused(llama, r"found an adapter \(adapter_config\.json\); expected a base model")
    (llama / "config.json").unlink()
    refused(llama, "found an adapter")
    assert network == []


def test_architectures(llama: Path) -> None:
    edit(llama / "config.json", model_type="novelty")
    refused(llama, "has an architecture that the installed transformers lacks; found model_type 'novelty'. Upgrade")
    edit(llama / "config.json", model_type="t5")
    refused(llama, "is no causal language model; found model_type 't5'")
    edit(llama / "config.json", model_type=None)
    refused(llama, "found model_type None")


def test_weights(llama: Path) -> None:
    weights = llama / "model.safetensors"
    content = weights.read_bytes()
    for keep in (0, 7, 100, len(content) - 1):
        weights.write_bytes(content[:keep])
        refused(llama, "cannot load the backbone")
    tensors = load_file(make_tiny(llama.parent / "again") / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, weights, metadata={"format": "pt"})
    refused(llama, rf"do not fill the model that config\.json describes; found 1 missing keys, e\.g\. {name}")
    save_file({**tensors, name: tensors[name][:-1].clone()}, weights, metadata={"format": "pt"})
    refused(llama, "cannot load the backbone|do not fill")
    weights.unlink()
    refused(llama, r"found no model\.safetensors in .*; expected safetensors weights")


@pytest.mark.parametrize("index", [{}, [], {"weight_map": {"a": 1}}, {"weight_map": {"a": "../model.safetensors"}}])
def test_shard_index(llama: Path, index: Any) -> None:
    (llama / "model.safetensors").rename(llama.parent / "model.safetensors")
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(llama, "weight_map|is incomplete|expected a JSON object")


def test_tokenizers(llama: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    larger = make_tiny(tmp_path / "larger", lines=["many other words entirely " * 3], vocabulary=320)
    assert load(larger)
    shutil.copy(llama / "tokenizer.json", larger / "tokenizer.json")
    refused(larger, r"belongs to another model; found token ids up to \d+; expected ids below \d+")
    (llama / "tokenizer.json").write_text("{")
    refused(llama, "cannot load the tokenizer of backbone")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (llama / name).unlink()
    refused(llama, "tokenizer")


def test_devices(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(llama, "device; found 'abacus'; expected auto, cpu", device="abacus")
    refused(llama, "device 'meta' is not available", device="meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused(llama, "device 'cuda' is not available; found 0 GPUs. Pass --device cpu", device="cuda")
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    refused(llama, "device 'cuda:1' is not available; found 1 GPUs", device="cuda:1")


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantization(llama: Path, monkeypatch: pytest.MonkeyPatch, bits: str) -> None:
    find = module.importlib.util.find_spec

    def with_package(there: bool) -> None:
        monkeypatch.setattr(
            module.importlib.util,
            "find_spec",
            lambda name, *rest: there or None if name == "bitsandbytes" else find(name, *rest),
        )

    with_package(False)
    refused(llama, r"needs the package bitsandbytes\. Install it: pip install 'recalign\[quant\]'", quantization=bits)
    with_package(True)
    refused(llama, r"needs a GPU; found device cpu\. .*'recalign\[quant\]'", quantization=bits)


def test_config_is_validated() -> None:
    for options in ({"name": ""}, {"name": "x", "dtype": "int8"}, {"name": "x", "unknown": 1}):
        with pytest.raises(ValidationError):
            BackboneConfig(**options)


# ---- the hub ----


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cache_model(hub_cache: Path, source: Path) -> None:
    folder = hub_cache / "models--owner--model"
    shutil.copytree(source, folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)


def test_cached_hub_model_needs_no_network(checkpoints: dict[str, Path], hub_cache: Path, network: list[Any]) -> None:
    cache_model(hub_cache, checkpoints["llama"])
    for revision in (None, "main", COMMIT):
        backbone = load("owner/model", revision=revision)
        assert (backbone.name, backbone.revision) == ("owner/model", COMMIT)
    assert backbone.fingerprint == load(checkpoints["llama"]).fingerprint
    assert network == []


def test_uncached_hub_model_without_network(hub_cache: Path, network: list[Any]) -> None:
    match = (
        r"backbone owner/model is neither a local directory nor in the hub's local cache, and cannot be downloaded; "
        r"found ConnectError: .*\. With a network run: hf download owner/model; without one pass a local checkpoint"
    )
    refused("owner/model", match)
    refused("owner/model", "hf download owner/model --revision v1;", revision="v1")
    assert network


def test_partly_cached_hub_model(checkpoints: dict[str, Path], hub_cache: Path, network: list[Any]) -> None:
    cache_model(hub_cache, checkpoints["llama"])
    (hub_cache / "models--owner--model" / "snapshots" / COMMIT / "model.safetensors").unlink()
    refused("owner/model", "cannot be downloaded")


def test_offline_mode(hub_cache: Path, network: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused("owner/model", r"found offline mode \(HF_HUB_OFFLINE\)\.")
    assert network == []


class Hub(ThreadingHTTPServer):
    """The few answers of the hub that a download needs."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.served: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/owner/gated"):
            self.answer(403, {}, b"", {"X-Error-Code": "GatedRepo"})
        elif path == "/api/models/owner/model/revision/v9":
            self.answer(404, {}, b"", {"X-Error-Code": "RevisionNotFound"})
        elif path in ("/api/models/owner/model", "/api/models/owner/model/revision/main"):
            self.answer(200, {"id": "owner/model", "sha": COMMIT, "siblings": []})
        elif path == f"/api/models/owner/model/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": f"{index:040x}"}
                for index, (name, content) in enumerate(self.server.files.items())
            ]
            self.answer(200, tree)
        elif path.startswith(f"/owner/model/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/owner/model/resolve/{COMMIT}/")
            if self.command == "GET":
                self.server.served.append(name)
            etag = f'"{list(self.server.files).index(name):040x}"'
            self.answer(200, None, self.server.files[name], {"ETag": etag, "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, {}, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def answer(self, status: int, document: Any, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        content = body or json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(checkpoints: dict[str, Path], hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on localhost with owner/model (safetensors beside traps) and the gated owner/gated."""
    files = {path.name: path.read_bytes() for path in checkpoints["llama"].iterdir()}
    traps = ("pytorch_model.bin", "modeling_llama.py", "onnx/model.onnx", "consolidated.safetensors", "original/a.pth")
    server = Hub({**files, **dict.fromkeys(traps, b"trap")})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_download_fetches_nothing_executable(hub: Hub, checkpoints: dict[str, Path], hub_cache: Path) -> None:
    backbone = load("owner/model")
    assert backbone.revision == COMMIT
    assert backbone.fingerprint == load(checkpoints["llama"]).fingerprint
    assert set(hub.served) <= {path.name for path in checkpoints["llama"].iterdir()}
    hub.shutdown()
    assert load("owner/model").revision == COMMIT  # the second time from the cache


def test_hub_errors(hub: Hub) -> None:
    refused("owner/gated", r"backbone owner/gated is gated\. Accept its licence .* hf auth login")
    refused("owner/model", "found no revision 'v9' on the hub", revision="v9")
    refused("owner/nothing", "found neither a local directory nor a public model on the hub. Check the name")


def test_hub_that_never_answers(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "_HUB_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        refused("owner/model", "cannot be downloaded; found ReadTimeout")
        assert time.monotonic() - start < 10
