"""Tiny random checkpoints of several architectures, made offline, for tests of anything that takes a backbone.

The directories are what `save_pretrained` writes: config, safetensors, and a byte-level BPE fast tokenizer trained on
given lines. The special tokens differ as the families' do, because that is where code breaks: Llama, Mistral and Gemma
put a begin token before every text, Qwen and GPT-2 do not; GPT-2 has one special token for everything and no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from recalign.models.backbone import quiet_progress
from recalign.seeding import derive_seed

DEFAULT_LINES = (
    "### Instruction: Given the user's preference, identify whether the user will like the target movie.",
    'User Preference: "Heat (1995)" User Unpreference: "Grumpier Old Men (1995)" Whether the user will like: ',
    "### Response: Yes. No. Answer with Yes or No. The Lord of the Rings (2001), Amélie (2001), 千と千尋の神隠し",
)


@dataclass(frozen=True, slots=True)
class _Family:
    """Config class, its extra options, special tokens by role, and whether the tokenizer adds the begin token."""

    config: Callable[..., PretrainedConfig]
    tokens: Mapping[str, str]
    options: Mapping[str, Any]
    begins: bool = False


_ENDED = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_CLASSIC = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_FAMILIES = {
    "llama": _Family(LlamaConfig, _CLASSIC, {"num_key_value_heads": 2}, begins=True),
    "mistral": _Family(MistralConfig, _CLASSIC, {"num_key_value_heads": 2, "sliding_window": None}, begins=True),
    "qwen2": _Family(Qwen2Config, _ENDED, {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen3": _Family(Qwen3Config, _ENDED, {"num_key_value_heads": 2, "head_dim": 8}),
    "gemma2": _Family(
        Gemma2Config,
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            # Low enough for the caps to change these small numbers, so that a path that skips them is noticed.
            "attn_logit_softcapping": 0.5,
            "final_logit_softcapping": 0.5,
        },
        begins=True,
    ),
    "gpt2": _Family(GPT2Config, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, {}),
}
ARCHITECTURES = tuple(_FAMILIES)


def make_tiny(
    directory: Path,
    architecture: str = "llama",
    *,
    lines: Iterable[str] = DEFAULT_LINES,
    vocabulary: int = 512,
    hidden: int = 32,
    layers: int = 2,
    max_positions: int = 1024,
    seed: int = 0,
    **options: Any,
) -> Path:
    """Write a random checkpoint and return its directory.

    Args:
        directory: Created if need be; an existing checkpoint in it is overwritten.
        architecture: One of `ARCHITECTURES`.
        lines: What the tokenizer is trained on; any other text still encodes (bytes).
        vocabulary: Upper limit of the tokenizer's size; at least 256 + its special tokens.
        hidden: Width; a multiple of 8.
        layers: Number of layers.
        max_positions: Longest sequence in tokens.
        seed: The weights depend on it and the shape alone.
        options: Passed on to the config class, e.g. ``tie_word_embeddings=False``.

    Raises:
        ValueError: unknown architecture.
    """
    if architecture not in _FAMILIES:
        raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    family = _FAMILIES[architecture]
    tokenizer = train_tokenizer(lines, vocabulary, family.tokens, begins=family.begins)
    shape: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": hidden // 8}
    # The library's default scale (0.02) makes logits of a model this small all but equal; this one spreads them.
    shape |= {"max_position_embeddings": max_positions, "initializer_range": 0.2}
    if architecture == "gpt2":
        shape |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    else:
        shape |= {"intermediate_size": 2 * hidden}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = family.config(vocab_size=len(tokenizer), **{**shape, **ids, **family.options, **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny", architecture))
        model = AutoModelForCausalLM.from_config(config)
    with quiet_progress():
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def train_tokenizer(
    lines: Iterable[str], vocabulary: int, tokens: Mapping[str, str], *, begins: bool
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with the special `tokens` (role → token); `begins`: it puts bos before texts."""
    special = list(dict.fromkeys(tokens.values()))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(lines, trainer)
    if begins:
        bos = tokens["bos_token"]
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bpe.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False, **tokens)
