"""Tiny tokenizers in the manner of GPT-2, Llama and ChatML models, built without a network."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

CORPUS = [
    "Below is an instruction that describes a task, paired with an input that provides further context.",
    "Write a response that appropriately completes the request.\n\n### Instruction:\n### Input:\n### Response:\nYes.",
    "Given the user's preference and unpreference, identify whether the user will like the target movie by answering",
    'User Preference: "Heat (1995)", "Alien (1979)"\nUser Unpreference: "Silence of the Lambs, The (1991)"\nYes. No.',
    "The user has liked 7 of the last 10 movies (+ liked, - not), oldest first:\nTarget movie: \nJa.\nNein.\nYes.\nNo.",
    'Given the movies a user has watched recently, oldest first.\n"Heat"? Yes\n"Alien"? No\n"X"? Ja\n"Y"? Nein',
] * 3
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_LINES = pre_tokenizers.Split("\n", "isolated")


def _gpt2() -> PreTrainedTokenizerBase:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    raw.add_special_tokens(["<|endoftext|>"])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def _llama() -> PreTrainedTokenizerBase:
    special = ["<unk>", "<s>", "</s>"]
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.pre_tokenizer = pre_tokenizers.Sequence([_LINES, pre_tokenizers.Split("▁", "merged_with_next")])
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special + bytes_, show_progress=False)
    raw.train_from_iterator(CORPUS, trainer)
    state = json.loads(raw.to_str())
    state["added_tokens"] = state["added_tokens"][: len(special)]  # byte tokens are plain vocabulary, as in Llama
    raw = Tokenizer.from_str(json.dumps(state))
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _chatml() -> PreTrainedTokenizerBase:
    tokenizer = _gpt2()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["[INST]", "[/INST]", "<think>", "Schuhgröße"])
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = CHATML
    return tokenizer


def _lowercase() -> PreTrainedTokenizerBase:
    """Normalises before it looks for added tokens: full-width and upper-case spellings become control tokens too."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    raw.pre_tokenizer = pre_tokenizers.Sequence([_LINES, pre_tokenizers.Split(" ", "isolated")])
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False)
    raw.train_from_iterator(CORPUS, trainer)
    raw.add_special_tokens([AddedToken("<end>", special=True, normalized=True)])
    raw.add_special_tokens([AddedToken("STOP", special=True, normalized=True)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="<end>")


BUILDERS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "chatml": _chatml,
    "lowercase": _lowercase,
}


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerBase]:
    """The tokenizers by name: gpt2, llama, chatml, lowercase."""
    return {name: build() for name, build in BUILDERS.items()}
