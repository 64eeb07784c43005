"""nano, the embedded backbone: a small Llama-architecture model for machines without a network.

Here are its shape and its tokenizer; `recalign.tuning.pretrain` trains it as a language model (and as nothing else) and
caches it. Once built it is an ordinary local checkpoint directory, loaded like any other backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recalign.seeding import derive_seed

PAD, BOS, EOS = "<|pad|>", "<|begin|>", "<|end|>"


class NanoConfig(BaseModel):
    """Shape and pretraining of the embedded backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def init_model(config: NanoConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A freshly initialised model; the weights depend on `config.seed` alone."""
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
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(config.seed, "nano", "init"))
        return LlamaForCausalLM(shape)
