"""Adapters: saved and loaded exactly, continued really, and refused on anything but their own backbone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from recalign.artifacts import read_manifest, write_directory
from recalign.errors import ArtifactError, ModelError
from recalign.models.adapter import Mode, attach, load_adapter, merged, read_record, save_adapter
from recalign.models.backbone import Backbone, BackboneConfig, load_backbone
from recalign.models.config import LoraSettings
from recalign.models.weights import unique_tensors
from recalign.testing.tiny import ARCHITECTURES, make_tiny

LORA = LoraSettings()
TEXT = 'The user liked "Heat (1995)". Will the user like "Casino (1995)"? Yes.'


@pytest.fixture
def llama(checkpoints: dict[str, Path]) -> Path:
    return checkpoints["llama"]


def fresh(checkpoint: Path) -> Backbone:
    return load_backbone(BackboneConfig(name=str(checkpoint), device="cpu"))


def ids(backbone: Backbone) -> torch.Tensor:
    return torch.tensor([backbone.tokenizer(TEXT).input_ids])


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(tokens).logits.clone()


def step(model: Any, tokens: torch.Tensor, steps: int = 1) -> None:
    """Plain gradient descent on the language-model loss."""
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()


def tuned(checkpoint: Path, directory: Path, mode: Mode = "lora", parent: Path | None = None, **options: Any) -> Path:
    """Attach, take two steps, save."""
    backbone = fresh(checkpoint)
    model = attach(backbone, mode, LoraSettings(**options), parent)
    step(model, ids(backbone), 2)
    save_adapter(model, directory)
    return directory


# ---- save and load ----


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tune_save_load_gives_the_same_logits(
    checkpoints: dict[str, Path], tmp_path: Path, architecture: str, mode: Mode
) -> None:
    backbone = fresh(checkpoints[architecture])
    tokens = ids(backbone)
    before = logits(backbone.model, tokens)
    model = attach(backbone, mode, LORA, None)
    assert model.training
    torch.testing.assert_close(logits(model, tokens), before, rtol=0, atol=0)  # a new adapter changes nothing
    step(model, tokens, 2)
    after = logits(model, tokens)
    assert (after - before).abs().max() > 1e-4
    record = save_adapter(model, tmp_path / "adapter")
    assert record == read_record(tmp_path / "adapter")

    again = load_adapter(fresh(checkpoints[architecture]), tmp_path / "adapter")
    torch.testing.assert_close(logits(again, tokens), after, rtol=0, atol=0)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert not [path.name for path in (tmp_path / "adapter").iterdir() if path.suffix not in (".json", ".safetensors")]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_trains_the_papers_layers_only(checkpoints: dict[str, Path], architecture: str) -> None:
    model = attach(fresh(checkpoints[architecture]), "lora", LORA, None)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = {"c_attn"} if architecture == "gpt2" else {"q_proj", "v_proj"}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == expected
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.05)


def test_full_trains_everything_and_ties_stay_tied(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = attach(fresh(checkpoints["qwen2"]), "full", LORA, None)
    assert all(parameter.requires_grad for parameter in model.parameters())
    save_adapter(model, tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    again = load_adapter(fresh(checkpoints["qwen2"]), tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_full_in_float32_whatever_was_loaded(llama: Path, tmp_path: Path) -> None:
    backbone = load_backbone(BackboneConfig(name=str(llama), device="cpu", dtype="bfloat16"))
    assert backbone.model.dtype == torch.bfloat16
    model = attach(backbone, "full", LORA, None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    step(model, ids(backbone))
    after = logits(model, ids(backbone))
    save_adapter(model, tmp_path)
    again = load_adapter(load_backbone(backbone.config), tmp_path)
    torch.testing.assert_close(logits(again, ids(backbone)), after, rtol=0, atol=0)


def test_lora_on_a_bfloat16_base_is_float32_itself(llama: Path, tmp_path: Path) -> None:
    backbone = load_backbone(BackboneConfig(name=str(llama), device="cpu", dtype="bfloat16"))
    model = attach(backbone, "lora", LORA, None)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    step(model, ids(backbone))
    after = logits(model, ids(backbone))
    save_adapter(model, tmp_path)
    again = load_adapter(load_backbone(backbone.config), tmp_path)
    torch.testing.assert_close(logits(again, ids(backbone)), after, rtol=0, atol=0)


def test_same_weights_same_bytes(llama: Path, tmp_path: Path) -> None:
    for name, place in (("a", llama), ("b", Path(shutil.copytree(llama, tmp_path / "elsewhere" / "llama")))):
        tuned(place, tmp_path / name, targets=("q_proj", "k_proj", "v_proj", "o_proj"), dropout=0.0)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_reads_the_adapter(llama: Path, tmp_path: Path) -> None:
    backbone = fresh(llama)
    model = attach(backbone, "lora", LORA, None)
    step(model, ids(backbone))
    save_adapter(model, tmp_path)
    foreign = PeftModel.from_pretrained(fresh(llama).model, str(tmp_path))
    torch.testing.assert_close(logits(foreign, ids(backbone)), logits(model, ids(backbone)), rtol=0, atol=0)


def test_peft_does_not_read_the_adapter_of_a_full_parent(llama: Path, tmp_path: Path) -> None:
    """It would put the LoRA on the untouched backbone."""
    child = tuned(llama, tmp_path / "child", "lora", tuned(llama, tmp_path / "full", "full"))
    with pytest.raises(KeyError, match=r"base\.safetensors.*recalign export RUN --to merged"):
        PeftModel.from_pretrained(fresh(llama).model, str(child))


def test_initialisation_depends_on_the_seed_alone(llama: Path) -> None:
    def initial(seed: int, disturb: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(disturb)
        before = torch.random.get_rng_state()
        backbone = fresh(llama)
        torch.random.set_rng_state(before)
        model = attach(backbone, "lora", LORA, None, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        return {name: p.detach().clone() for name, p in model.named_parameters() if "lora_A" in name}

    first, second, other = initial(0, 1), initial(0, 2), initial(1, 1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


# ---- parents ----


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_continued_adapter_starts_from_the_parent_and_trains(
    checkpoints: dict[str, Path], tmp_path: Path, architecture: str, mode: Mode
) -> None:
    checkpoint = checkpoints[architecture]
    parent = tuned(checkpoint, tmp_path / "parent", mode)
    weights = load_file(parent / ("model.safetensors" if mode == "full" else "adapter_model.safetensors"))
    backbone = fresh(checkpoint)
    model = attach(backbone, mode, LORA, parent)
    save_adapter(model, tmp_path / "untouched")
    copied = load_file(
        tmp_path / "untouched" / ("model.safetensors" if mode == "full" else "adapter_model.safetensors")
    )
    assert copied.keys() == weights.keys()
    assert all(torch.equal(copied[name], weights[name]) for name in weights)
    expected = logits(load_adapter(fresh(checkpoint), parent), ids(backbone))
    torch.testing.assert_close(logits(model, ids(backbone)), expected, rtol=0, atol=0)

    trained = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == len(weights)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    step(model, ids(backbone))
    moved = dict(model.named_parameters())
    assert all(
        not torch.equal(moved[name], value) for name, value in trained.items() if not name.endswith("k_proj.bias")
    )
    assert all(torch.equal(moved[name], value) for name, value in frozen.items())
    record = save_adapter(model, tmp_path / "child")
    assert [ancestor.weights for ancestor in record.ancestors] == [read_record(parent).weights]


def test_lora_on_a_full_parent_is_self_contained(llama: Path, tmp_path: Path) -> None:
    parent = tuned(llama, tmp_path / "full", "full")
    backbone = fresh(llama)
    tokens = ids(backbone)
    model = attach(backbone, "lora", LORA, parent)
    expected = logits(load_adapter(fresh(llama), parent), tokens)
    torch.testing.assert_close(logits(model, tokens), expected, rtol=0, atol=0)
    step(model, tokens, 2)
    after = logits(model, tokens)
    assert (after - expected).abs().max() > 1e-4
    record = save_adapter(model, tmp_path / "child")
    assert record.base_weights == read_record(parent).weights

    shutil.rmtree(parent)
    (tmp_path / "child" / "adapter_config.json").write_text("{}")  # it is for others: earlier versions wrote another
    torch.testing.assert_close(logits(load_adapter(fresh(llama), tmp_path / "child"), tokens), after, rtol=0, atol=0)
    grandchild = attach(fresh(llama), "lora", LORA, tmp_path / "child")
    torch.testing.assert_close(logits(grandchild, tokens), after, rtol=0, atol=0)
    step(grandchild, tokens)
    last = logits(grandchild, tokens)
    record = save_adapter(grandchild, tmp_path / "grandchild")
    assert [ancestor.mode for ancestor in record.ancestors] == ["full", "lora"]
    torch.testing.assert_close(
        logits(load_adapter(fresh(llama), tmp_path / "grandchild"), tokens), last, rtol=0, atol=0
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
def test_full_child_of_a_lora_parent_merges_it(checkpoints: dict[str, Path], tmp_path: Path, architecture: str) -> None:
    checkpoint = checkpoints[architecture]
    parent = tuned(checkpoint, tmp_path / "lora")
    backbone = fresh(checkpoint)
    tokens = ids(backbone)
    expected = logits(load_adapter(fresh(checkpoint), parent), tokens)
    model = attach(backbone, "full", LORA, parent)
    assert (logits(model, tokens) - expected).abs().max() <= 1e-5 * expected.abs().max()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert names == [name for name, _ in fresh(checkpoint).model.named_parameters()]
    step(model, tokens)
    after = logits(model, tokens)
    save_adapter(model, tmp_path / "child")
    torch.testing.assert_close(
        logits(load_adapter(fresh(checkpoint), tmp_path / "child"), tokens), after, rtol=0, atol=0
    )


def test_merged_for_inference(llama: Path, tmp_path: Path) -> None:
    tokens = ids(fresh(llama))
    model = load_adapter(fresh(llama), tuned(llama, tmp_path / "a"))
    expected = logits(model, tokens)
    plain = merged(model)
    assert not isinstance(plain, PeftModel)
    assert (logits(plain, tokens) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert merged(plain) is plain


# ---- refusals ----


def test_foreign_base_is_refused_without_network(llama: Path, tmp_path: Path, network: list[Any]) -> None:
    parent = tuned(llama, tmp_path / "a")
    config = json.loads((parent / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "./llama"
    config["base_model_name_or_path"] = "somebody/else"
    (parent / "adapter_config.json").write_text(json.dumps(config))
    load_adapter(fresh(llama), parent)  # the name in PEFT's file is nothing to go by

    other = make_tiny(tmp_path / "other", "llama", seed=1)
    match = rf"adapter {parent} was made for another backbone; found llama \(\w{{12}}\); expected {other} \(\w{{12}}\)"
    with pytest.raises(ModelError, match=match):
        load_adapter(fresh(other), parent)
    with pytest.raises(ModelError, match="another backbone"):
        attach(fresh(other), "lora", LORA, parent)
    record = json.loads((parent / "recalign_adapter.json").read_text())
    (parent / "recalign_adapter.json").write_text(json.dumps({**record, "base_fingerprint": "0" * 64}))
    with pytest.raises(ModelError, match="another backbone"):
        load_adapter(fresh(llama), parent)
    assert network == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"r": 4}, r"another lora\.r; found 8; expected 4\. Set lora\.r"),
        ({"alpha": 32}, r"another lora\.alpha; found 16"),
        ({"targets": ("k_proj",)}, r"another lora\.targets; found \('q_proj', 'v_proj'\)"),
    ],
)
def test_other_lora_settings_than_the_parents(llama: Path, tmp_path: Path, options: dict[str, Any], match: str) -> None:
    parent = tuned(llama, tmp_path / "a")
    with pytest.raises(ModelError, match=match):
        attach(fresh(llama), "lora", LoraSettings(**options), parent)


def test_dropout_and_order_of_targets_may_change(llama: Path, tmp_path: Path) -> None:
    parent = tuned(llama, tmp_path / "a")
    model = attach(fresh(llama), "lora", LoraSettings(dropout=0.3, targets=("v_proj", "q_proj")), parent)
    assert model.peft_config["default"].lora_dropout == 0.3


def replace_weights(directory: Path, name: str, change: Any) -> None:
    """Change the tensors of a weights file and its hash in the record."""
    from recalign.artifacts import hash_file

    tensors = load_file(directory / name)
    change(tensors)
    save_file(tensors, directory / name)
    record = json.loads((directory / "recalign_adapter.json").read_text())
    record["weights"] = hash_file(directory / name).sha256
    (directory / "recalign_adapter.json").write_text(json.dumps(record))


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_shape_and_name_mismatches(llama: Path, tmp_path: Path, mode: Mode) -> None:
    name = "model.safetensors" if mode == "full" else "adapter_model.safetensors"
    parent = tuned(llama, tmp_path / "a", mode)
    key = sorted(load_file(parent / name))[0]

    def narrow(tensors: dict[str, torch.Tensor]) -> None:
        tensors[key] = tensors[key][:-1].contiguous()

    replace_weights(parent, name, narrow)
    for use in (lambda: load_adapter(fresh(llama), parent), lambda: attach(fresh(llama), mode, LORA, parent)):
        with pytest.raises(
            ModelError, match=r"does not fit the backbone; found .* of shape \(\d+, \d+\); expected \(\d+"
        ):
            use()
    replace_weights(parent, name, lambda tensors: tensors.pop(key))
    with pytest.raises(ModelError, match="found that it lacks 1 tensors: "):
        load_adapter(fresh(llama), parent)
    extra = tuned(llama, tmp_path / "b", mode)
    replace_weights(extra, name, lambda tensors: tensors.update(surplus=torch.zeros(1)))
    with pytest.raises(ModelError, match="found that it has besides 1 tensors: surplus"):
        load_adapter(fresh(llama), extra)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "base.safetensors"])
def test_altered_weights_are_refused(llama: Path, tmp_path: Path, name: str) -> None:
    directory = tuned(llama, tmp_path / "child", "lora", tuned(llama, tmp_path / "full", "full"))
    content = bytearray((directory / name).read_bytes())
    content[-5] ^= 4
    (directory / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} is damaged; found sha256"):
        load_adapter(fresh(llama), directory)
    (directory / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}; found no such file"):
        attach(fresh(llama), "lora", LORA, directory)


def test_artefact_verification_catches_every_file(llama: Path, tmp_path: Path) -> None:
    backbone = fresh(llama)
    with write_directory(tmp_path / "run", "adapter", config={}) as staging:
        save_adapter(attach(backbone, "lora", LORA, None), staging / "adapter")
    files = sorted(read_manifest(tmp_path / "run", kind="adapter").files)
    assert [name.rpartition("/")[2] for name in files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "recalign_adapter.json",
    ]
    for name in files:
        path = tmp_path / "run" / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=name):
            read_manifest(tmp_path / "run", kind="adapter")
        path.write_bytes(content)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"mode": "lora", "surplus": 1}'])
def test_no_adapter(llama: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "recalign_adapter.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"no adapter") as caught:
        load_adapter(fresh(llama), tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_targets_list_what_there_is(llama: Path, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"LoRA target 'c_attn'; found no such layer; expected some of .*'q_proj'"):
        attach(fresh(llama), "lora", LoraSettings(targets=("q_proj", "c_attn")), None)
    with pytest.raises(ModelError, match=r"'q_proj'; .*'c_attn'"):
        attach(fresh(checkpoints["gpt2"]), "lora", LoraSettings(targets=("q_proj",)), None)


def test_architecture_without_default(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = fresh(llama)
    for layer in backbone.model.model.layers:
        layer.self_attn.query = layer.self_attn.q_proj
        del layer.self_attn.q_proj
    monkeypatch.setattr(backbone.model.config, "model_type", "novelty")
    with pytest.raises(ModelError, match=r"no default layers for architecture 'novelty'\. Set lora\.targets.*query"):
        attach(backbone, "lora", LORA, None)


def test_backbone_serves_once(llama: Path) -> None:
    backbone = fresh(llama)
    attach(backbone, "lora", LORA, None)
    with pytest.raises(ModelError, match="carries an adapter"):
        attach(backbone, "lora", LORA, None)


def test_full_weights_on_a_quantised_backbone(llama: Path, tmp_path: Path) -> None:
    parent = tuned(llama, tmp_path / "full", "full")

    def quantised() -> Backbone:
        backbone = fresh(llama)
        backbone.config = BackboneConfig(name=str(llama), quantization="4bit")
        return backbone

    for mode, start in (("full", None), ("lora", parent), ("full", parent)):
        with pytest.raises(ModelError, match="full weights need an unquantised backbone"):
            attach(quantised(), mode, LORA, start)
    with pytest.raises(ModelError, match="holds full weights"):
        load_adapter(quantised(), parent)


def test_unique_tensors_names_tied_ones_once(checkpoints: dict[str, Path]) -> None:
    model = fresh(checkpoints["gpt2"]).model
    assert "lm_head.weight" not in unique_tensors(model)
    assert "transformer.wte.weight" in unique_tensors(model)


# ---- what only a GPU can show ----

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


def tuned_on_gpu(backbone: Backbone, mode: Any) -> tuple[Any, torch.Tensor]:
    """One training step and the logits after it."""
    model = attach(backbone, mode, LoraSettings(dropout=0.0), None)
    tokens = torch.tensor([backbone.tokenizer(TEXT).input_ids], device="cuda")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    model(tokens, labels=tokens).loss.backward()
    optimizer.step()
    return model, logits(model, tokens).float()


def loaded_on_gpu(config: BackboneConfig, directory: Path) -> torch.Tensor:
    backbone = load_backbone(config)
    tokens = torch.tensor([backbone.tokenizer(TEXT).input_ids], device="cuda")
    return logits(load_adapter(backbone, directory), tokens).float()


@needs_gpu
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_bfloat16_by_default(tmp_path: Path, architecture: str) -> None:
    config = BackboneConfig(name=str(make_tiny(tmp_path / architecture, architecture)))
    backbone = load_backbone(config)
    assert backbone.model.device.type == "cuda"
    assert backbone.model.dtype == torch.bfloat16
    model, expected = tuned_on_gpu(backbone, "lora")
    save_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(loaded_on_gpu(config, tmp_path / "adapter"), expected, rtol=0, atol=0)


@needs_gpu
def test_full_mode_in_float32(tmp_path: Path) -> None:
    config = BackboneConfig(name=str(make_tiny(tmp_path / "llama")), dtype="float32")
    model, expected = tuned_on_gpu(load_backbone(config), "full")
    save_adapter(model, tmp_path / "adapter")
    assert (loaded_on_gpu(config, tmp_path / "adapter") - expected).abs().max() <= 1e-5 * expected.abs().max()


@needs_gpu
def test_initialisation_is_that_of_the_cpu(tmp_path: Path) -> None:
    directory = make_tiny(tmp_path / "llama")
    weights = []
    for device in ("cpu", "cuda"):
        before = torch.cuda.get_rng_state()
        backbone = load_backbone(BackboneConfig(name=str(directory), device=device, dtype="float32"))
        model = attach(backbone, "lora", LoraSettings(), None, seed=3)
        assert torch.equal(torch.cuda.get_rng_state(), before)
        weights.append({name: p.detach().cpu() for name, p in model.named_parameters() if "lora_A" in name})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@needs_gpu
@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantised(tmp_path: Path, bits: Any) -> None:
    config = BackboneConfig(name=str(make_tiny(tmp_path / "llama", hidden=64)), quantization=bits)
    backbone = load_backbone(config)
    assert any(type(module).__name__ in ("Linear4bit", "Linear8bitLt") for module in backbone.model.modules())
    model, expected = tuned_on_gpu(backbone, "lora")
    save_adapter(model, tmp_path / "adapter")
    assert (loaded_on_gpu(config, tmp_path / "adapter") - expected).abs().max() <= 1e-2 * expected.abs().max()
