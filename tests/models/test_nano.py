"""nano's shape and tokenizer; how it is trained is tested with `recalign.tuning.backbones.nano`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from recalign.artifacts import fingerprint
from recalign.data.catalog import ItemCatalog
from recalign.data.domain import Domain
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.models.adapter import attach, load_adapter, save_adapter
from recalign.models.backbone import Backbone, load_backbone
from recalign.models.config import Architecture, BackboneConfig, LoraSettings, NanoConfig
from recalign.models.nano import BOS, EOS, PAD, init_model, train_tokenizer
from recalign.models.onednn import OneDnnLinear, accelerate_linears
from recalign.prompting.encoding import PromptEncoder
from recalign.prompting.template import PromptTemplate
from recalign.scoring import yes_no
from recalign.scoring.base import Scores
from recalign.scoring.yes_no import YesNoScorer
from recalign.seeding import derive_seed
from recalign.testing.data import write_sample_set
from recalign.tuning.backbones.nano import Corpus, build_nano

LINES = ["The Heat (1995)", "Amélie (2001)", "Answer with Yes. or No.", "A movie: “Léon”"] * 30
SMALL = NanoConfig(hidden=32, layers=1, heads=2, intermediate=32, vocabulary=400)
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


def test_the_default_shape_keeps_its_promises() -> None:
    config = NanoConfig()
    tokenizer = train_tokenizer(LINES, config.vocabulary)
    # Only the embedding depends on what the tokenizer was trained on; count it at its full size.
    model = init_model(config, tokenizer)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    parameters += (config.vocabulary - len(tokenizer)) * config.hidden
    assert 3e6 <= parameters <= 10e6
    assert model.config.max_position_embeddings >= 2048
    assert model.config.model_type == "llama"
    with pytest.raises(ValidationError):
        NanoConfig(max_positions=1024)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="heads"):
        NanoConfig(hidden=64, heads=3)


@pytest.mark.parametrize(
    "text", ["The Heat (1995)", "千と千尋の神隠し 🎬", "  two  spaces\tand\nlines ", "\u200b\u2028", ""]
)
def test_any_text_comes_back(text: str) -> None:
    tokenizer = train_tokenizer(LINES, 400)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens_and_the_limit_of_the_vocabulary() -> None:
    tokenizer = train_tokenizer(LINES, 400)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (PAD, BOS, EOS)
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    assert len(tokenizer) <= 400
    assert train_tokenizer(LINES, 400).get_vocab() == tokenizer.get_vocab()


def test_weights_depend_on_the_seed_alone() -> None:
    tokenizer = train_tokenizer(LINES, 400)
    torch.manual_seed(1)
    first = init_model(SMALL, tokenizer).state_dict()
    before = torch.get_rng_state()
    again = init_model(SMALL, tokenizer).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay where they were"
    other = init_model(SMALL.model_copy(update={"seed": 1}), tokenizer).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_tied_where_asked(tied: bool) -> None:
    model = init_model(SMALL.model_copy(update={"tie_embeddings": tied}), train_tokenizer(LINES, 400))
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied


def test_the_default_architecture_leaves_no_trace_in_what_is_fingerprinted() -> None:
    keys = ["hidden", "layers", "heads", "intermediate", "vocabulary", "max_positions", "tie_embeddings", "dropout"]
    keys += ["seed", "steps", "lr", "batch_tokens", "row_tokens", "instructions", "target_titles"]
    assert list(NanoConfig().model_dump(mode="json")) == list(NanoConfig().model_dump()) == keys
    # Computed before there were other architectures.
    assert fingerprint(NanoConfig()) == "0b5c47657799c198cdd4160b4e3957aa2c0a9865114ade9f8a1670c6c4ab10ef"
    assert fingerprint(SMALL) == "b7363d9478c68ab6c6bd0410c17661bcafd89f81582777087bca3cea081b4cb3"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_settings_come_back_and_architectures_have_fingerprints_of_their_own(architecture: Architecture) -> None:
    config = NanoConfig(architecture=architecture)
    assert NanoConfig.model_validate(config.model_dump(mode="json")) == config
    assert NanoConfig.model_validate_json(config.model_dump_json()) == config
    others = {fingerprint(NanoConfig(architecture=other)) for other in ARCHITECTURES if other != architecture}
    assert fingerprint(config) not in others


@pytest.mark.parametrize("config", [SMALL, NanoConfig(tie_embeddings=False, dropout=0.1, seed=3, layers=2)], ids=repr)
def test_the_default_architecture_has_the_weights_that_it_always_had(config: NanoConfig) -> None:
    tokenizer = train_tokenizer(LINES, 400)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=config.tie_embeddings,
        attention_dropout=config.dropout,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "nano", "init"))
        expected = LlamaForCausalLM(shape)
    found = init_model(config, tokenizer)
    assert found.config.to_dict() == expected.config.to_dict()
    weights = found.state_dict()
    assert list(weights) == list(expected.state_dict())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in expected.state_dict().items())


def test_the_first_weights_are_those_of_before() -> None:
    weights = init_model(SMALL, train_tokenizer(LINES, 400)).state_dict()
    found = weights["model.layers.0.mlp.down_proj.weight"].flatten()[:3].tolist()
    # Vector units differ in the last bits.
    assert found == pytest.approx([0.00344223, -0.02366145, 0.00143379], rel=1e-5)


def test_shapes_are_what_was_asked_for() -> None:
    tokenizer = train_tokenizer(LINES, 400)
    base = NanoConfig(hidden=64, layers=2, heads=4, intermediate=96, max_positions=2304, dropout=0.25)
    models = {name: init_model(base.model_copy(update={"architecture": name}), tokenizer) for name in ARCHITECTURES}
    for name, model in models.items():
        config: Any = model.config
        assert config.model_type == name
        assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 2, 4)
        assert config.max_position_embeddings == 2304
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert (config.pad_token_id, config.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
        if name != "gpt2":
            layer = model.model.layers[1]
            assert layer.self_attn.q_proj.weight.shape == (64, 64), "heads are as wide as in the default architecture"
            assert layer.self_attn.k_proj.weight.shape == ({"llama": 64, "mistral": 16}.get(name, 32), 64)
            assert layer.mlp.up_proj.weight.shape == (96, 64)
            assert layer.self_attn.attention_dropout == 0.25
    gpt2 = models["gpt2"]
    assert gpt2.transformer.wpe.weight.shape == (2304, 64)
    assert gpt2.transformer.h[1].mlp.c_fc.weight.shape == (64, 96)
    assert (gpt2.config.attn_pdrop, gpt2.config.resid_pdrop, gpt2.config.embd_pdrop) == (0.25, 0, 0)
    gemma = models["gemma2"].config
    assert gemma.sliding_window == 2304, "no prompt is longer than its window"
    assert gemma.attn_logit_softcapping
    assert gemma.final_logit_softcapping
    with pytest.raises(ValidationError, match="architecture"):
        NanoConfig(architecture="bloom")


@pytest.mark.parametrize(("heads", "expected"), [(3, 3), (6, 3), (4, 1), (8, 2)])
def test_heads_share_as_far_as_their_number_divides(heads: int, expected: int) -> None:
    config = NanoConfig(architecture="mistral", hidden=48, layers=1, heads=heads, intermediate=32)
    assert init_model(config, train_tokenizer(LINES, 400)).config.num_key_value_heads == expected


def test_convolutions_of_gpt2_multiply_as_they_did() -> None:
    model = init_model(SMALL.model_copy(update={"architecture": "gpt2"}), train_tokenizer(LINES, 400)).eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = model(ids).logits
        assert accelerate_linears(model) == 1
        assert (model(ids).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert type(model.lm_head) is OneDnnLinear
    assert type(model.transformer.h[0].attn.c_attn) is Conv1D


TITLES = {
    str(place): f"{word} Story, part {place} (19{place + 50})"
    for place, word in enumerate(["A", "Dark", "Blue", "Sea"] * 3)
}
LISTS = [
    CandidateList("u", (HistoryEntry("1", True), HistoryEntry("2", False)), ("3", "4", "5")),
    CandidateList("v", (HistoryEntry("7", False),), ("6", "2")),
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> ItemCatalog:
    return write_sample_set(tmp_path_factory.mktemp("titles") / "data", TITLES, {}).catalog


@pytest.fixture(scope="module", params=ARCHITECTURES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, catalog: ItemCatalog) -> Path:
    """Each architecture after two steps of pretraining."""
    shape = {"hidden": 32, "layers": 2, "heads": 4, "intermediate": 48, "vocabulary": 600}
    config = NanoConfig(architecture=request.param, steps=2, batch_tokens=128, row_tokens=64, **shape)
    corpus = Corpus.build([(Domain(), catalog)], [(Domain(), catalog, [list(TITLES)])], instructions=10, seed=0)
    return build_nano(config, corpus, cache=tmp_path_factory.mktemp("cache"), precision="fp32")


def load(directory: Path) -> Backbone:
    return load_backbone(BackboneConfig(name=str(directory), dtype="float32", device="cpu"))


def score(model: Any, backbone: Backbone, catalog: ItemCatalog) -> Scores:
    encoder = PromptEncoder(PromptTemplate.load("tallrec"), Domain(), backbone.tokenizer, max_length=2048)
    return YesNoScorer(model, encoder, catalog).score(LISTS)


def changed(model: Any) -> Any:
    """The model with weights that tuning would change, changed: so much that its scores show it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, tensor in sorted(model.named_parameters()):
            if tensor.requires_grad:
                tensor.add_(torch.empty_like(tensor).normal_(0.0, 0.1, generator=generator))
    return model.eval()


def test_what_is_built_scores_packed_as_it_does_alone(
    built: Path, catalog: ItemCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = load(built)
    assert backbone.max_positions == 2048
    together = score(backbone.model, backbone, catalog)
    assert caplog.text == "", "prompts of up to 2,048 tokens are packed without a fall-back"
    monkeypatch.setattr(yes_no, "supports_packing", lambda *_arguments, **_options: False)
    alone = score(backbone.model, backbone, catalog)
    assert np.abs(together.flat() - alone.flat()).max() <= 1e-5 * np.abs(alone.flat()).max()
    assert np.unique(together.flat()).size == 5
    np.testing.assert_array_equal(score(load(built).model, backbone, catalog).flat(), alone.flat())


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_is_built_is_tuned_and_saved(built: Path, catalog: ItemCatalog, tmp_path: Path, mode: Any) -> None:
    backbone = load(built)
    before = score(backbone.model, backbone, catalog).flat()
    model = changed(attach(backbone, mode, LoraSettings(r=2), None))
    if mode == "lora":
        adapted = {
            name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_" in name
        }
        assert adapted == ({"c_attn"} if backbone.model.config.model_type == "gpt2" else {"q_proj", "v_proj"})
    after = score(model, backbone, catalog).flat()
    assert np.abs(after - before).max() > 1e-3
    save_adapter(model, tmp_path / "adapter")
    fresh = load(built)
    again = score(load_adapter(fresh, tmp_path / "adapter"), fresh, catalog).flat()
    assert np.abs(again - after).max() <= 1e-5 * np.abs(after).max()
