"""nano, the embedded backbone: a small language model for machines without a network, Llama-like by default.

Here are its network and its tokenizer; `recalign.tuning.backbones.nano` trains and caches it. The other architectures
are for comparisons of backbones: same tokenizer, same text, another network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from recalign.models.config import Architecture, NanoConfig
from recalign.seeding import derive_seed

PAD, BOS, EOS = "<|pad|>", "<|begin|>", "<|end|>"

_CLASSES: Final[dict[Architecture, tuple[Any, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "mistral": (MistralConfig, MistralForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM),
}
# Query heads per key and value head, as in Qwen3-0.6B, Mistral-7B and Gemma-2-2B. LLaMA (the first) shares none.
_SHARING: Final[dict[Architecture, int]] = {"llama": 1, "qwen3": 2, "mistral": 4, "gemma2": 2}


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over `texts` (any text encodes, nothing is unknown), with begin, end and padding tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def init_model(config: NanoConfig, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A freshly initialised model; the weights depend on the shape and `config.seed` alone."""
    configuration, network = _CLASSES[config.architecture]
    shape = configuration(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=config.tie_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **_own_options(config),
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(config.seed, "nano", "init"))
        model: PreTrainedModel = network(shape)
    return model


def _own_options(config: NanoConfig) -> dict[str, object]:
    """What the architectures call by names of their own, or would set for models a thousand times larger."""
    if config.architecture == "gpt2":
        # Its other dropouts would be a difference of training, not of architecture.
        rates = {"attn_pdrop": config.dropout, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
        return {"n_inner": config.intermediate, **rates}
    options: dict[str, object] = {
        "intermediate_size": config.intermediate,
        "num_key_value_heads": config.heads // math.gcd(config.heads, _SHARING[config.architecture]),
        "attention_dropout": config.dropout,
    }
    width = config.hidden // config.heads
    if config.architecture == "qwen3":
        options["head_dim"] = width
    elif config.architecture == "mistral":
        options |= {"sliding_window": None}  # as later Mistrals; windows shorter than prompts cannot be packed
    elif config.architecture == "gemma2":
        # Its local layers must have a window: one that no prompt exceeds.
        options |= {"head_dim": width, "query_pre_attn_scalar": width, "sliding_window": config.max_positions}
    return options
