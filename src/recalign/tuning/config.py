"""Configuration of one tuning stage. A parameter's default, meaning and limits are declared here and nowhere else."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from recalign.models.config import LoraSettings

Selection = Literal["last", "strict-k", "source", "paper"]
Curriculum = Literal["ordered", "staged", "mixed", "stage1-only", "stage2-only", "stage3-only"]


class OptimConfig(BaseModel):
    """AdamW and its schedule. Defaults: TALLRec's published settings (SPEC §3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(1e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay on matrices (not on norms and biases).")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW betas.")
    warmup_steps: int = Field(20, ge=0, description="Linear warm-up, in optimizer steps.")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="Decay after the warm-up.")
    final_lr: float = Field(0.0, ge=0, le=1, description="Where the decay ends, as a share of the peak.")
    clip_norm: float = Field(1.0, gt=0, description="Gradient norm limit.")
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the averaged weights that are validated and kept; 0: off."
    )


class SamplingConfig(BaseModel):
    """How rec-tuning lays out histories and targets.

    With the defaults each prepared sample is one prompt, as in both papers. With ``targets_per_history`` T > 1 every
    epoch cuts each user's training interactions into blocks of T consecutive ones, which are asked about independently
    of each other, given the interactions before the block: each interaction is a target about once an epoch.
    (Drawing users at random instead repeats light users many times as often, and overfits them first.)

    Ratings teach which of the items that people chose they liked, and nothing about what nobody chose. Where a model
    is to rank a whole catalogue, `unmet_targets` adds items that the user never met to each block, as disliked ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets_per_history: int = Field(1, ge=1, description="T: targets that share one history.")
    random_share: float = Field(0.3, ge=0, le=1, description="Share of users whose items are shuffled in an epoch.")
    max_history: int = Field(10, ge=1, description="Longest history.")
    short_share: float = Field(0.1, ge=0, le=1, description="Share of histories cut to a random shorter length.")
    unmet_targets: int = Field(
        0, ge=0, description="Items the user never met, drawn uniformly, asked about with each block as disliked ones."
    )

    @model_validator(mode="after")
    def _blocks(self) -> Self:
        if self.unmet_targets and self.targets_per_history == 1:
            raise ValueError("unmet_targets belong to blocks: set targets_per_history above 1")
        return self

    @model_serializer(mode="wrap")
    def _later_fields_unsaid(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the later field at its default: what was made before it existed keeps its fingerprint."""
        fields: dict[str, Any] = handler(self)
        if not self.unmet_targets:
            fields.pop("unmet_targets", None)
        return fields


class StageConfig(BaseModel):
    """One stage: samples, a parent adapter and this configuration in; an adapter out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["instruction", "cot", "rec"] = Field(
        "rec", description="Instruction tuning, chain-of-thought curriculum, or rec-tuning."
    )
    mode: Literal["lora", "full"] = Field("lora", description="LoRA, or all parameters (small backbones only).")
    lora: LoraSettings = Field(default_factory=LoraSettings, description="LoRA settings; ignored in mode full.")
    optim: OptimConfig = Field(default_factory=OptimConfig, description="Optimizer and schedule.")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="Histories and targets.")
    seed: int = Field(0, ge=0, description="Root of all randomness in the stage.")
    template: str = Field("default", description="Prompt template: a shipped name or a TOML path.")
    max_length: int = Field(512, ge=16, description="Longest prompt in tokens; the oldest history items go first.")
    batch_size: int = Field(128, ge=1, description="Prompts per optimizer step.")
    micro_batch_tokens: int = Field(2048, ge=16, description="Token budget of one forward and backward pass.")
    epochs: float = Field(1.0, gt=0, description="Passes over the training prompts, unless max_steps is given.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; overrides epochs.")
    train_on_inputs: bool = Field(False, description="Loss on the whole prompt, as the reference code does.")
    lm_weight: float = Field(0.0, ge=0, description="Weight of a language-model loss on part of the prompt tokens.")
    lm_fraction: float = Field(0.15, gt=0, le=1, description="Share of the prompt tokens in that loss.")
    shots: int | None = Field(None, ge=1, description="K: how many training samples are used; all if not given.")
    selection: Selection = Field(
        "last",
        description="Which step is kept: last; strict-k (last: the K samples and the source alone decide); source "
        "(best AUC on held-out source users); paper (best AUC on the target's validation split).",
    )
    holdout: float = Field(0.1, gt=0, lt=1, description="Share of source users held out for selection source.")
    eval_steps: int = Field(50, ge=1, description="Optimizer steps between two validations.")
    patience: int = Field(10, ge=1, description="Stop after so many validations without a gain (both papers: 10).")
    max_eval_samples: int = Field(2000, ge=1, description="Seeded subset of the validation samples.")
    checkpoint_steps: int = Field(100, ge=1, description="Optimizer steps between two checkpoints.")
    instructions: int = Field(2000, ge=1, description="Rows of the embedded instruction generator (kind instruction).")
    instruction_file: str | None = Field(None, description="Alpaca-format JSON(L) used instead of the generator.")
    curriculum: Curriculum = Field("ordered", description="Kind cot: which rows are learnt from, in which order.")
    difficulty: str = Field("stage", description="Kind cot: what makes a row hard: stage, length or answer-length.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of forward and backward; auto: bf16 where the processor computes in it."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shots is not None and self.sampling.targets_per_history > 1:
            raise ValueError("shots counts single samples, so it goes with sampling.targets_per_history = 1")
        if self.shots is not None and self.selection == "source":
            raise ValueError("selection = 'source' is for source stages; a K-shot stage uses strict-k or paper")
        if self.kind == "instruction" and self.selection not in ("last", "source"):
            raise ValueError("instruction tuning sees no labels, so its selection is 'last'")
        if self.kind == "cot" and self.selection != "last":
            raise ValueError("a chain-of-thought stage has no labels to select on, so its selection is 'last'")
        return self
