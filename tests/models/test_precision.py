"""Scores in bfloat16 and with int8 products: near those of float32, and alike alone and packed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from recalign.errors import ModelError
from recalign.models import int8, precision
from recalign.models.adapter import attach, load_adapter, save_adapter
from recalign.models.backbone import load_backbone
from recalign.models.bf16 import Bf16Linear
from recalign.models.config import BackboneConfig, LoraSettings
from recalign.models.forward import supports_fusion
from recalign.models.int8 import Int8Linear, weight_levels
from recalign.models.onednn import OneDnnLinear, computes_in_bf16
from recalign.models.precision import for_precision, in_precision


def relative_gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.detach().float(), expected.detach().float()
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24), (0, 24)])
def test_int8_products_are_near_those_of_float32(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias)
    x = torch.randn(shape)
    found, expected = Int8Linear(layer)(x), layer(x)
    assert found.shape == expected.shape
    assert found.numel() == 0 or relative_gap(found, expected) < 0.03


def test_a_channel_that_dwarfs_the_others_does_not_hide_them() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(128, 64, bias=False)
    x = torch.randn(50, 128)
    x[:, 5] *= 50
    layer.weight.data[:, 5] = 0  # so that only the others matter
    assert relative_gap(Int8Linear(layer)(x), layer(x)) < 0.15  # without mixing: above 0.4


def test_a_token_does_not_depend_on_those_beside_it() -> None:
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(32, 16))
    x = torch.randn(9, 32)
    x[3] *= 1000
    x[4] = 0
    together = layer(x)
    assert torch.equal(together[4], layer.bias)
    for row in range(9):
        assert relative_gap(layer(x[row : row + 1])[0], together[row]) < 1e-6


def test_the_extremes_of_both_sides_do_not_overflow() -> None:
    layer = nn.Linear(128, 32, bias=False)
    nn.init.ones_(layer.weight)
    quantised = Int8Linear(layer)
    x = torch.ones(4, 128)
    assert weight_levels() in (127, 64)
    assert relative_gap(quantised(x), layer(x)) < 1e-5


@pytest.mark.parametrize("levels", [127, 64])
def test_the_other_step_of_weights_is_near_too(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if levels > weight_levels():
        pytest.skip("overflows on this processor")
    monkeypatch.setattr(int8, "weight_levels", lambda: levels)
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 64), torch.randn(20, 64)
    assert relative_gap(Int8Linear(layer)(x), layer(x)) < 0.03


def test_only_the_linear_layers_below_the_head_change(checkpoints: dict[str, Path]) -> None:
    config = for_precision(BackboneConfig(name=str(checkpoints["llama"]), device="cpu"), "int8")
    model = in_precision(load_backbone(config).model, "int8")
    plain = load_backbone(config).model
    changed = {name for name, module in model.named_modules() if isinstance(module, Int8Linear)}
    assert changed == {name for name, module in plain.named_modules() if type(module) is OneDnnLinear} - {"lm_head"}
    before = dict(plain.named_parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


def test_auto_changes_nothing(checkpoints: dict[str, Path]) -> None:
    config = BackboneConfig(name=str(checkpoints["llama"]), device="cpu")
    assert for_precision(config, "auto") is config
    model = load_backbone(config).model
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    assert in_precision(model, "auto") is model
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert {type(module) for module in model.modules()}.isdisjoint({Int8Linear})


@pytest.mark.parametrize("wanted", ["fp32", "int8"])
@torch.no_grad()
def test_a_lora_is_added_into_the_weights_first(checkpoints: dict[str, Path], tmp_path: Path, wanted: str) -> None:
    config = BackboneConfig(name=str(checkpoints["llama"]), device="cpu")
    tuned = attach(load_backbone(config), "lora", LoraSettings(), None)
    draw = torch.Generator().manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5, generator=draw)
    save_adapter(tuned, tmp_path / "adapter")
    ids = torch.arange(5, 25)[None]
    expected = load_adapter(load_backbone(config), tmp_path / "adapter")(ids).logits
    without = load_backbone(config).model(ids).logits
    loaded = load_adapter(load_backbone(for_precision(config, wanted)), tmp_path / "adapter")
    found = in_precision(loaded, wanted)(ids).logits
    assert relative_gap(without, expected) > 0.3
    # With AVX2 alone int8 products saturate at 16 bits, which costs more.
    assert relative_gap(found, expected) < (1e-5 if wanted == "fp32" else 0.2)


needs_bf16 = pytest.mark.skipif(not computes_in_bf16("cpu"), reason="this processor does not compute in bfloat16")


@needs_bf16
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24), (0, 24)])
def test_bf16_products_are_near_those_of_float32(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias)
    layer.weight.data *= 100
    x = torch.randn(shape)
    found, expected = Bf16Linear(layer)(x), layer(x)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert found.numel() == 0 or relative_gap(found, expected) < 0.01


@needs_bf16
@torch.no_grad()
def test_on_a_cpu_bf16_is_for_products_alone(checkpoints: dict[str, Path]) -> None:
    config = for_precision(BackboneConfig(name=str(checkpoints["llama"]), device="cpu"), "bf16")
    assert config.dtype == "float32"
    model, plain = in_precision(load_backbone(config).model, "bf16"), load_backbone(config).model
    changed = {name for name, module in model.named_modules() if isinstance(module, Bf16Linear)}
    assert changed == {name for name, module in plain.named_modules() if type(module) is OneDnnLinear} - {"lm_head"}
    before = dict(plain.named_parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert supports_fusion(model)
    ids = torch.arange(5, 25)[None]
    rounded = load_backbone(config.model_copy(update={"dtype": "bfloat16"})).model
    expected = plain(ids).logits
    assert 0 < relative_gap(model(ids).logits, expected) < relative_gap(rounded(ids).logits, expected)


def test_elsewhere_bf16_keeps_positions_in_float32(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_in_bf16", lambda device: True)
    for architecture in ("gpt2", "llama"):
        if architecture == "llama":  # as on a device that is no CPU
            monkeypatch.setattr(precision, "replace_linears", lambda *parts: 0)
        config = for_precision(BackboneConfig(name=str(checkpoints[architecture]), device="cpu"), "bf16")
        model = in_precision(load_backbone(config).model, "bf16")
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        assert {buffer.dtype for buffer in model.buffers() if buffer.is_floating_point()} <= {torch.float32}


def test_bf16_is_refused_where_it_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "computes_in_bf16", lambda device: False)
    with pytest.raises(ModelError, match=r"bf16.*device cpu.*--precision int8") as caught:
        for_precision(BackboneConfig(name="x", device="cpu"), "bf16")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(computes_in_bf16("cpu"), reason="this processor computes in bfloat16")
def test_bf16_is_refused_on_this_processor() -> None:
    with pytest.raises(ModelError, match="does not compute in bfloat16"):
        for_precision(BackboneConfig(name="x", device="cpu"), "bf16")


def test_int8_is_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "resolve_device", lambda name: torch.device("cuda"))
    with pytest.raises(ModelError, match=r"int8; found device cuda; expected a CPU"):
        for_precision(BackboneConfig(name="x", device="cuda"), "int8")


def test_a_quantised_backbone_keeps_its_arithmetic() -> None:
    with pytest.raises(ModelError, match=r"int8; found quantization 8bit"):
        for_precision(BackboneConfig(name="x", quantization="8bit", device="cpu"), "int8")


def test_a_model_of_other_layers_is_refused(checkpoints: dict[str, Path]) -> None:
    model = load_backbone(BackboneConfig(name=str(checkpoints["gpt2"]), device="cpu")).model
    with pytest.raises(ModelError, match="a gpt2 without linear layers"):
        in_precision(model, "int8")


def test_products_that_are_not_exact_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "_product", lambda x, *rest: torch.zeros(len(x), len(x)))
    with pytest.raises(ModelError, match="not exact"):
        weight_levels.__wrapped__()
