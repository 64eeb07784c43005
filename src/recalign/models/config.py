"""Configuration of backbones and adapters; imports neither torch nor transformers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BackboneConfig(BaseModel):
    """Which language model, and how it is held in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="Local checkpoint directory, hub id, or nano (the embedded backbone).")
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


class LoraSettings(BaseModel):
    """Low-rank adaptation (Hu et al. 2021).

    Defaults: rank 8 (TLRec, section 5.1.3); alpha, dropout and the query and value projections as in TALLRec's code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    r: int = Field(8, ge=1, description="Rank.")
    alpha: float = Field(16, gt=0, description="Scale: the update is multiplied by alpha / r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the update, in training only.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Names of the linear layers to adapt; by default q_proj and v_proj or what the architecture has.",
    )
