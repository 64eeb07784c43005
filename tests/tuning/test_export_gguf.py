"""llama.cpp's own converters, run on exports: what they write is imported again, and is the model that was exported.

RECALIGN_LLAMA_CPP names the folder of llama.cpp's sources. The tokenizer is SmolLM2's: the converter must know it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from recalign.models.config import BackboneConfig
from recalign.models.gguf_import import PROBE, import_gguf
from recalign.models.released import SMOLLM2, release_directory
from recalign.tuning.export import export
from recalign.tuning.export_card import CONVERSIONS
from recalign.tuning.provenance import StageInputs
from recalign.tuning.stage import tune_stage

LLAMA_CPP = os.environ.get("RECALIGN_LLAMA_CPP", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LLAMA_CPP, reason="RECALIGN_LLAMA_CPP names no folder of llama.cpp"),
    pytest.mark.skipif(not release_directory(SMOLLM2).exists(), reason="no SmolLM2 here: recalign download smollm2"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf") / "base"
    tokenizer = AutoTokenizer.from_pretrained(release_directory(SMOLLM2))
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=True, **shape, **ids)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(base: Path, inputs: Callable[..., StageInputs]) -> Path:
    backbone = BackboneConfig(name=str(base), dtype="float32", device="cpu")
    return tune_stage(replace(inputs(mode="lora"), backbone=backbone), base.parent / "model")


def run(command: str, folder: Path, **variables: str) -> None:
    command = command.replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, "LLAMA_CPP": LLAMA_CPP, **variables}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_converted_and_imported_it_is_the_same_model(tmp_path: Path, model: Path) -> None:
    output = export(model, to="gguf", output=tmp_path / "out")
    run(CONVERSIONS["gguf"][0], output)
    imported = import_gguf(output / "model-f32.gguf", tmp_path / "imported")
    before, after = (load_file(folder / "model.safetensors") for folder in (output, imported))
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    exported, again = (AutoTokenizer.from_pretrained(folder) for folder in (output, imported))
    assert exported(PROBE)["input_ids"] == again(PROBE)["input_ids"]
    assert exported.chat_template == again.chat_template


def test_a_lora_is_converted_with_its_base(tmp_path: Path, model: Path, base: Path) -> None:
    output = export(model, to="peft", output=tmp_path / "out")
    run(CONVERSIONS["peft"][0], output, BASE=str(base))
    assert (output / "lora-f32.gguf").read_bytes()[:4] == b"GGUF"
