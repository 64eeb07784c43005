"""Configuration of nano, the embedded backbone: shape and pretraining; imports neither torch nor transformers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

Architecture = Literal["llama", "qwen3", "gpt2", "mistral", "gemma2"]


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
    def _omit_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out a field that came later at its default. Backbones built before keep their fingerprint."""
        fields: dict[str, object] = handler(self)
        if self.architecture == "llama":
            fields.pop("architecture", None)
        return fields
