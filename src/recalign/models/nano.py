"""nano, the embedded backbone: a small language model for machines without a network, Llama-like by default.

Here are its shape and its tokenizer; `recalign.tuning.pretrain` trains it as a language model (and as nothing else) and
caches it. Once built it is an ordinary local checkpoint directory, loaded like any other backbone. The other
architectures are for comparisons of backbones: same tokenizer, same text, another network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
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

from recalign.seeding import derive_seed

PAD, BOS, EOS = "<|pad|>", "<|begin|>", "<|end|>"

Architecture = Literal["llama", "qwen3", "gpt2", "mistral", "gemma2"]
_CLASSES: Final[dict[Architecture, tuple[Any, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "mistral": (MistralConfig, MistralForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM),
}
# Query heads per key and value head, as in Qwen3-0.6B, Mistral-7B and Gemma-2-2B. LLaMA (the first) shares none.
_SHARING: Final[dict[Architecture, int]] = {"llama": 1, "qwen3": 2, "mistral": 4, "gemma2": 2}


class NanoConfig(BaseModel):
    """Shape and pretraining of the embedded backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = Field(
        "llama",
        description="The network: llama, qwen3, gpt2 (learns positions up to row_tokens only), mistral, gemma2.",
    )
    hidden: int = Field(256, ge=32, multiple_of=8, description="Width.")
    layers: int = Field(4, ge=1, description="Transformer layers.")
    heads: int = Field(4, ge=1, description="Attention heads.")
    intermediate: int = Field(688, ge=32, description="Width of the feed-forward layers.")
    vocabulary: int = Field(4096, ge=300, description="BPE vocabulary, trained on the catalogue and the templates.")
    max_positions: int = Field(2048, ge=2048, description="Longest sequence in tokens.")
    tie_embeddings: bool = Field(True, description="Whether the output head shares the input embedding.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Attention dropout.")
    seed: int = Field(0, ge=0, description="Root of initialisation and pretraining order.")
    steps: int = Field(300, ge=1, description="Pretraining steps (language modelling only).")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate of the pretraining.")
    batch_tokens: int = Field(12288, ge=64, description="Tokens per pretraining step.")
    row_tokens: int = Field(256, ge=32, description="Tokens per pretraining row.")
    instructions: int = Field(4000, ge=0, description="Catalogue instructions among the pretraining text.")
    target_titles: bool = Field(True, description="Whether titles of target domains may enter tokenizer and text.")

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden = {self.hidden} must be an even multiple of heads = {self.heads}")
        return self

    @model_serializer(mode="wrap")
    def _default_architecture_unsaid(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the later field at its default: what was made before it existed keeps its fingerprint."""
        fields: dict[str, Any] = handler(self)
        if self.architecture == "llama":
            fields.pop("architecture", None)
        return fields


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


def _own_options(config: NanoConfig) -> dict[str, Any]:
    """What the architectures call by names of their own, or would set for models a thousand times larger."""
    if config.architecture == "gpt2":
        # Its other dropouts would be a difference of training, not of architecture.
        rates = {"attn_pdrop": config.dropout, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
        return {"n_inner": config.intermediate, **rates}
    options: dict[str, Any] = {
        "intermediate_size": config.intermediate,
        "num_key_value_heads": config.heads // math.gcd(config.heads, _SHARING[config.architecture]),
        "attention_dropout": config.dropout,
    }
    width = config.hidden // config.heads
    if config.architecture == "qwen3":
        options |= {"head_dim": width}
    elif config.architecture == "mistral":
        options |= {"sliding_window": None}  # as later Mistrals; windows shorter than prompts cannot be packed
    elif config.architecture == "gemma2":
        # Its local layers must have a window: one that no prompt exceeds.
        options |= {"head_dim": width, "query_pre_attn_scalar": width, "sliding_window": config.max_positions}
    return options
