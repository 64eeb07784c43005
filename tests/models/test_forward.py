"""The forward pass: logits at chosen positions are those of the full model, and packed prompts score as alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from recalign.models import forward
from recalign.models.adapter import attach
from recalign.models.backbone import Backbone, load_backbone
from recalign.models.config import BackboneConfig, LoraSettings
from recalign.models.forward import head_at, logits_at, supports_fusion, supports_packing, tokens_per_pass
from recalign.prompting.encoding import IGNORE, EncodedPrompt
from recalign.prompting.packing import Forest, grow_tree, grow_trees, pack
from recalign.testing.tiny import ARCHITECTURES, make_tiny
from recalign.tuning.guards import mixed_precision

TOLERANCE = 1e-5  # of float32, beside the largest logit


def load(directory: Path) -> Backbone:
    return load_backbone(BackboneConfig(name=str(directory), dtype="float32", device="cpu"))


def with_lora(backbone: Backbone) -> Any:
    """A LoRA that changes something: freshly attached ones do not."""
    model = attach(backbone, "lora", LoraSettings(r=2), None)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def prompts(n: int = 4, stem: int = 20) -> list[EncodedPrompt]:
    """Prompts of different lengths that begin alike."""
    rng = np.random.default_rng(1)
    first = rng.integers(3, 250, stem).tolist()
    return [ready((*first, *rng.integers(3, 250, 3 + 2 * index).tolist())) for index in range(n)]


def ready(ids: tuple[int, ...]) -> EncodedPrompt:
    return EncodedPrompt(ids=ids, labels=(IGNORE,) * len(ids), answer_start=len(ids))


def gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference of two tensors, as a part of the largest entry."""
    return float((found - expected).abs().max() / expected.abs().max())


def separate(asked: list[EncodedPrompt]) -> Forest:
    return pack([grow_tree([one]) for one in asked], share=False)


@pytest.fixture(params=[(name, lora) for name in ARCHITECTURES for lora in (False, True)], ids=str)
def model(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Any:
    name, lora = request.param
    backbone = load(checkpoints[name])
    return with_lora(backbone) if lora else backbone.model


@torch.no_grad()
def test_logits_at_positions_are_those_of_the_full_model(model: Any) -> None:
    forest = separate(prompts())
    for place, one in zip(forest.answers, prompts(), strict=True):
        expected = model(input_ids=torch.tensor([one.ids])).logits[0]
        start = place + 1 - len(one.ids)
        found = logits_at(model, forest, np.array([start + 4, place, start, start + 4]), packed=False)
        assert found.shape == (4, expected.shape[-1])
        assert gap(found, expected[[4, -1, 0, 4]]) <= TOLERANCE
        assert float(expected.std()) > 0.01, "logits that are all alike would show nothing"


@torch.no_grad()
def test_packed_prompts_have_the_logits_that_they_have_alone(model: Any) -> None:
    assert supports_packing(model, longest=1024)
    asked = prompts()
    alone = separate(asked)
    expected = logits_at(model, alone, alone.answers, packed=False)
    other = prompts(2, stem=17)
    trees = [*grow_trees(other, 64), *grow_trees(asked, 64), grow_tree([ready((5, 6, 7))])]
    together = pack(trees)
    found = logits_at(model, together, together.answers)[len(other) : len(other) + len(asked)]
    assert gap(found, expected) <= TOLERANCE


@torch.no_grad()
def test_the_head_is_whole_again_afterwards(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["llama"]).model
    ids = torch.tensor([[3, 4, 5]])
    before = model(ids).logits
    with head_at(model, torch.tensor([0]), torch.tensor([1])):
        narrow = model(ids).logits
    assert narrow.shape == (1, 1, before.shape[-1])
    assert gap(narrow[0, 0], before[0, 1]) <= TOLERANCE
    assert torch.equal(model(ids).logits, before)


@torch.no_grad()
def test_the_head_is_whole_again_after_an_error(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["llama"]).model
    ids = torch.tensor([[3, 4, 5]])
    before = model(ids).logits
    forest = separate([ready((3, 4, 5))])
    with pytest.raises(IndexError):
        logits_at(model, forest, np.array([99]), packed=False)
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize(("window", "longest", "supported"), [(8, 1024, False), (64, 512, False), (64, 60, True)])
def test_a_sliding_window_shorter_than_the_prompts_is_not_packed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, window: int, longest: int, supported: bool
) -> None:
    backbone = load(make_tiny(tmp_path / "m", "mistral", sliding_window=window))
    with caplog.at_level(logging.WARNING):
        assert supports_packing(backbone.model, longest=longest) is supported
    assert ("one by one" in caplog.text) is not supported


def test_what_goes_without_the_attention_interface_is_not_packed(
    checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(checkpoints["llama"])
    own = ALL_ATTENTION_FUNCTIONS["sdpa"]
    monkeypatch.setattr(type(ALL_ATTENTION_FUNCTIONS), "get_interface", lambda *_arguments: own)
    with caplog.at_level(logging.WARNING):
        assert not supports_packing(backbone.model, longest=64)
    assert "changes packed prompts" in caplog.text


def test_what_takes_no_positions_is_not_packed(
    checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(checkpoints["llama"])
    whole = backbone.model.forward

    def picky(*, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> Any:
        return whole(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    monkeypatch.setattr(backbone.model, "forward", picky)
    backbone.model.train()
    with caplog.at_level(logging.WARNING):
        assert not supports_packing(backbone.model, longest=64)
    assert "position_ids" in caplog.text
    assert backbone.model.training, "the check leaves the mode as it was"


FUSIBLE = ("llama", "mistral", "qwen2", "qwen3")


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_fused_pass_has_the_logits_of_the_model(checkpoints: dict[str, Path], name: str) -> None:
    model = load(checkpoints[name]).model
    assert supports_fusion(model) is (name in FUSIBLE)
    if name in FUSIBLE:
        forest = pack([*grow_trees(prompts(2, stem=17), 64), *grow_trees(prompts(), 64)])
        places = np.array([3, *forest.answers, 3])
        found, expected = (logits_at(model, forest, places, fused=fused) for fused in (True, False))
        assert gap(found, expected) <= TOLERANCE


def test_adapters_and_foreign_numbers_are_not_fused(
    checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not supports_fusion(with_lora(load(checkpoints["llama"])))
    model = load(checkpoints["llama"]).model
    norm = model.model.layers[1].input_layernorm
    monkeypatch.setattr(norm, "forward", lambda x: 2 * type(norm).forward(norm, x))
    with caplog.at_level(logging.WARNING):
        assert not supports_fusion(model)
    assert "differs in the fused pass" in caplog.text


def test_the_fused_pass_in_bfloat16(checkpoints: dict[str, Path]) -> None:
    backbone = load_backbone(BackboneConfig(name=str(checkpoints["llama"]), dtype="bfloat16", device="cpu"))
    in_onednn = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # ONEDNN_MAX_CPU_ISA may keep it from the processor's
    in_torch = torch.backends.cpu.get_cpu_capability() == "AVX512"  # ATEN_CPU_CAPABILITY likewise
    native = torch.cpu._is_avx512_bf16_supported() and in_onednn and in_torch
    assert supports_fusion(backbone.model) is native


@pytest.mark.parametrize("way", ["packed", "alone", "fused"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_logits_of_a_rounded_model_are_not_rounded(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, way: str, dtype: str
) -> None:
    model = load_backbone(BackboneConfig(name=str(checkpoints["llama"]), dtype=dtype, device="cpu")).model
    head = model.get_output_embeddings()
    with torch.no_grad():
        head.weight *= 100  # large logits, whose steps are large
    seen: list[torch.Tensor] = []

    def remember(head: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden)
        return exact(head, hidden)

    exact = forward._exact_logits
    monkeypatch.setattr(forward, "_exact_logits", remember)
    monkeypatch.setattr(forward, "_HEAD_ROWS", 7)
    if way == "fused":
        if not supports_fusion(model):
            pytest.skip(f"the fused pass is not for {dtype} on this processor")
        seen.clear()
    asked = prompts()
    forest = separate(asked) if way == "alone" else pack(grow_trees(asked, 64))
    with torch.no_grad():
        found = logits_at(model, forest, forest.answers, packed=way != "alone", fused=way == "fused")
    assert found.dtype == torch.float32
    expected = seen[0].double().reshape(-1, head.in_features) @ head.weight.detach().double().T
    assert gap(found.double(), expected) <= TOLERANCE
    assert gap(found.to(model.dtype).double(), expected) > 10 * TOLERANCE
    trained = logits_at(model, forest, forest.answers, packed=way != "alone")
    assert trained.dtype == model.dtype  # with gradients the head is the model's own


@torch.no_grad()
def test_logits_under_autocast_are_not_rounded(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["llama"]).model
    model.get_output_embeddings().weight *= 100
    forest = pack(grow_trees(prompts(), 64))
    expected = logits_at(model, forest, forest.answers)
    with mixed_precision(model, "bf16"):
        found = logits_at(model, forest, forest.answers)
    assert found.dtype == torch.float32
    assert 0 < gap(found, expected) < 0.1
    assert not torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize(("layers", "width", "expected"), [(3, 256, 16384), (30, 576, 15534), (32, 4096, 2048)])
def test_a_gpu_gets_longer_passes_where_the_model_is_small(layers: int, width: int, expected: int) -> None:
    shape = LlamaConfig(hidden_size=width, num_hidden_layers=layers, vocab_size=10, intermediate_size=8)
    with torch.device("meta"):  # any other device than a CPU
        model = LlamaForCausalLM(shape)
    assert tokens_per_pass(model, 2048) == expected


def test_a_cpu_gets_the_tokens_that_are_asked_for(checkpoints: dict[str, Path]) -> None:
    model = load_backbone(BackboneConfig(name=str(checkpoints["llama"]), device="cpu")).model
    assert tokens_per_pass(model, 2048) == 2048
