"""LoRA targets on the architectures' own layer names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    FalconConfig,
    Glm4Config,
    GPT2Config,
    GPTBigCodeConfig,
    GPTNeoXConfig,
    MptConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    RwkvConfig,
)

from recalign.errors import ModelError
from recalign.models import targets
from recalign.models.targets import fan_in_fan_out, linear_layers, resolve_targets

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ROOMY = SMALL | {"num_key_value_heads": 2, "intermediate_size": 64}


def empty(config: Any) -> Any:
    """The architecture without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(**SMALL), ("c_attn",)),
        (GPTBigCodeConfig(**SMALL), ("c_attn",)),
        (GPTNeoXConfig(**SMALL, intermediate_size=64), ("query_key_value",)),
        (FalconConfig(**SMALL), ("query_key_value",)),
        (BloomConfig(**SMALL), ("query_key_value",)),
        (MptConfig(vocab_size=64, d_model=32, n_layers=1, n_heads=4), ("Wqkv",)),
        (Phi3Config(**ROOMY), ("qkv_proj",)),
        (PhiConfig(**ROOMY), ("q_proj", "v_proj")),
        (OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32), ("q_proj", "v_proj")),
        (CohereConfig(**ROOMY), ("q_proj", "v_proj")),
        (Glm4Config(**ROOMY, head_dim=8), ("q_proj", "v_proj")),
        (RwkvConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1), ("key", "value", "receptance", "output")),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_defaults(config: Any, expected: tuple[str, ...]) -> None:
    model = empty(config)
    assert resolve_targets(model, None) == expected
    assert fan_in_fan_out(model, expected) == (config.model_type == "gpt2")


def test_whole_paths_and_short_names() -> None:
    model = empty(PhiConfig(**ROOMY))
    wanted = ("model.layers.0.self_attn.k_proj", "self_attn.q_proj", "fc1")
    assert resolve_targets(model, wanted) == wanted
    for name in ("_proj", "lm_head", "model", "embed_tokens", ""):
        with pytest.raises(
            ModelError, match=r"found no such layer; expected some of \['dense', 'fc1', 'fc2', 'k_proj'"
        ):
            resolve_targets(model, (name,))


def test_output_head_is_never_adapted() -> None:
    model = empty(GPT2Config(**SMALL))
    assert isinstance(model.lm_head, nn.Linear)
    assert not [name for name in linear_layers(model) if "lm_head" in name]


def test_mapping_of_peft_by_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    model = empty(PhiConfig(**ROOMY))
    for layer in model.model.layers:
        layer.self_attn.query = layer.self_attn.q_proj
        del layer.self_attn.q_proj
    monkeypatch.setattr(model.config, "model_type", "gemma4")  # its entry is a pattern, which matches nothing here
    with pytest.raises(ModelError, match="no default layers for architecture 'gemma4'"):
        resolve_targets(model, None)
    monkeypatch.setitem(targets.PEFT_TARGETS, "gemma4", r".*\.(query|v_proj)")
    attention = "model.layers.0.self_attn"
    assert resolve_targets(model, None) == (f"{attention}.v_proj", f"{attention}.query")
