"""nano's shape and tokenizer; how it is trained is tested with `recalign.tuning.pretrain`."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from recalign.models.nano import BOS, EOS, PAD, NanoConfig, init_model, train_tokenizer

LINES = ["The Heat (1995)", "Amélie (2001)", "Answer with Yes. or No.", "A movie: “Léon”"] * 30
SMALL = NanoConfig(hidden=32, layers=1, heads=2, intermediate=32, vocabulary=400)


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
