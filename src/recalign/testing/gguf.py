"""A checkpoint of Llama's architecture as a GGUF file, as llama.cpp's converter writes it, for tests of imports."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMAL, _CONTROL = 1, 3


def write_gguf(
    checkpoint: Path, file: Path, *, pre: str = "smollm", tokenizer: str = "gpt2", licence: str = "apache-2.0"
) -> Path:
    """Write a Llama checkpoint with a byte-level tokenizer, such as `make_tiny` makes, as `file`; weights in float32.

    `pre` and `tokenizer` are what the file says of its tokenizer; `licence` what it says of its terms.
    """
    import gguf

    config = json.loads((checkpoint / "config.json").read_bytes())
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("Tiny Llama")
    writer.add_license(licence)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, checkpoint, pre, tokenizer, config)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weight in load_file(checkpoint / "model.safetensors").items():
        stem, _, kind = name.rpartition(".")
        writer.add_tensor(f"{_gguf_name(stem)}.{kind}", _permuted(weight, heads.get(stem.rpartition(".")[2])).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _gguf_name(stem: str) -> str:
    if stem in NAMES:
        return NAMES[stem]
    _, _, block, inner = stem.split(".", 3)  # model.layers.0.self_attn.q_proj
    return f"blk.{block}.{NAMES[inner]}"


def _permuted(weight: torch.Tensor, heads: int | None) -> torch.Tensor:
    """llama.cpp rotates neighbouring dimensions of a head, transformers its two halves."""
    if heads is None:
        return weight.contiguous()
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape).contiguous()


def _add_tokenizer(writer, checkpoint: Path, pre: str, kind: str, config: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    document = json.loads((checkpoint / "tokenizer.json").read_bytes())
    special = {entry["id"]: entry["content"] for entry in document["added_tokens"]}
    vocabulary = {place: token for token, place in document["model"]["vocab"].items()} | special
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([vocabulary[place] for place in range(len(vocabulary))])
    writer.add_token_types([_CONTROL if place in special else _NORMAL for place in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in document["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
