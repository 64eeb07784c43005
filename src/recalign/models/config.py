"""Configuration of backbones, of nano (the embedded one) and of adapters; imports neither torch nor transformers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

Architecture = Literal["llama", "qwen3", "gpt2", "mistral", "gemma2"]


class Frozen(BaseModel):
    """A configuration that does not change and has no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneConfig(Frozen):
    """Which language model, and how it is held in memory."""

    name: str = Field(
        min_length=1, description="Local checkpoint directory, hub id, nano (the embedded one), or smollm2."
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch of a hub id; the resolved commit is recorded."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Type of the weights; auto: bfloat16 on a GPU that computes in it, else float32."
    )
    quantization: Literal["4bit", "8bit"] | None = Field(
        None, description="Quantised weights for LoRA (QLoRA); needs a GPU and the extra recalign[quant]."
    )
    device: str = Field("auto", min_length=1, description="auto (a GPU where there is one), cpu, cuda, cuda:1, mps.")
    attn_implementation: Literal["auto", "sdpa", "eager"] = Field(
        "auto", description="Attention code; auto: sdpa, or eager for architectures that sdpa computes wrongly."
    )


class LoraSettings(Frozen):
    """Low-rank adaptation (Hu et al. 2021).

    Defaults: rank 8 (TLRec, section 5.1.3); alpha, dropout and the query and value projections as in TALLRec's code.
    """

    r: int = Field(8, ge=1, description="Rank.")
    alpha: float = Field(16, gt=0, description="Scale: the update is multiplied by alpha / r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the update, in training only.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Names of the linear layers to adapt; by default q_proj and v_proj or what the architecture has.",
    )


class NanoConfig(Frozen):
    """Shape and pretraining of the embedded backbone."""

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
    def _omit_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out a field that came later at its default. Backbones built before keep their fingerprint."""
        fields: dict[str, object] = handler(self)
        if self.architecture == "llama":
            fields.pop("architecture", None)
        return fields
