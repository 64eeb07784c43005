"""What only a GPU can show; skipped without one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from recalign.models.adapter import LoraSettings, attach, load_adapter, save_adapter
from recalign.models.backbone import Backbone, BackboneConfig, load_backbone
from recalign.testing.tiny import make_tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


def tuned(backbone: Backbone, mode: Any, parent: Path | None = None) -> tuple[Any, torch.Tensor]:
    """One training step and the logits after it."""
    model = attach(backbone, mode, LoraSettings(dropout=0.0), parent)
    tokens = torch.tensor([backbone.tokenizer('Will the user like "Heat (1995)"? Yes.').input_ids], device="cuda")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    model(tokens, labels=tokens).loss.backward()
    optimizer.step()
    return model, logits(model, tokens)


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(tokens).logits.float()


def again(config: BackboneConfig, directory: Path) -> torch.Tensor:
    backbone = load_backbone(config)
    tokens = torch.tensor([backbone.tokenizer('Will the user like "Heat (1995)"? Yes.').input_ids], device="cuda")
    return logits(load_adapter(backbone, directory), tokens)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_bfloat16_by_default(tmp_path: Path, architecture: str) -> None:
    config = BackboneConfig(name=str(make_tiny(tmp_path / architecture, architecture)))
    backbone = load_backbone(config)
    assert backbone.model.device.type == "cuda"
    assert backbone.model.dtype == torch.bfloat16
    model, expected = tuned(backbone, "lora")
    save_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(again(config, tmp_path / "adapter"), expected, rtol=0, atol=0)


def test_full_mode_in_float32(tmp_path: Path) -> None:
    config = BackboneConfig(name=str(make_tiny(tmp_path / "llama")), dtype="float32")
    model, expected = tuned(load_backbone(config), "full")
    save_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(again(config, tmp_path / "adapter"), expected, rtol=0, atol=1e-5)


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


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantised(tmp_path: Path, bits: Any) -> None:
    config = BackboneConfig(name=str(make_tiny(tmp_path / "llama", hidden=64)), quantization=bits)
    backbone = load_backbone(config)
    assert any(type(module).__name__ in ("Linear4bit", "Linear8bitLt") for module in backbone.model.modules())
    model, expected = tuned(backbone, "lora")
    save_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(again(config, tmp_path / "adapter"), expected, rtol=1e-2, atol=1e-2)
