"""Configuration of tuning: one way to train, and three kinds of stage around it.

`TrainingConfig` is what the loop needs, whatever it trains. Each kind of stage adds the keys that mean something to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from recalign.errors import ConfigError
from recalign.models.config import Frozen, LoraSettings
from recalign.settings import validated

Selection = Literal["last", "strict-k", "k-fold", "source", "paper"]
Curriculum = Literal["ordered", "staged", "mixed", "stage1-only", "stage2-only", "stage3-only"]


class OptimConfig(Frozen):
    """AdamW and its schedule. The defaults are TALLRec's published settings."""

    lr: float = Field(1e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay on matrices (not on norms and biases).")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW betas.")
    warmup_steps: int = Field(20, ge=0, description="Linear warm-up, in optimizer steps.")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="Decay after the warm-up.")
    final_lr: float = Field(0.0, ge=0, le=1, description="Where the decay ends, as a fraction of the peak.")
    clip_norm: float = Field(1.0, gt=0, description="Gradient norm limit.")
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the averaged weights that are validated and kept; 0: off."
    )


class SamplingConfig(Frozen):
    """How rec-tuning lays out histories and targets.

    With the defaults each prepared sample is one prompt, as in both papers. With ``targets_per_history`` T > 1 every
    epoch cuts each user's training interactions into blocks of T consecutive ones. They are asked about independently
    of each other, given the interactions before the block, so each interaction is a target about once an epoch.
    (Drawing users at random instead repeats light users many times as often, and overfits them first.)

    Ratings teach which of the items that people chose they liked, and nothing about what nobody chose. Where a model
    is to rank a whole catalogue, `sampled_negatives` adds items that the user never met to each block, as disliked
    ones.

    With `title_dropout` some blocks tell nothing of their items, so that what counts alone says is learnt as well: it
    holds for items of any kind.
    """

    targets_per_history: int = Field(1, ge=1, description="T: targets that share one history.")
    random_fraction: float = Field(
        0.3, ge=0, le=1, description="Fraction of users whose items are shuffled in an epoch."
    )
    max_history: int = Field(10, ge=1, description="Longest history, in items.")
    short_fraction: float = Field(0.1, ge=0, le=1, description="Fraction of histories cut to a random shorter length.")
    sampled_negatives: int = Field(
        0, ge=0, description="Items the user never met, drawn uniformly, asked about with each block as disliked ones."
    )

    title_dropout: float = Field(
        0.0, ge=0, le=1, description="Fraction of the blocks whose items have numbers for titles, and nothing else."
    )

    @model_validator(mode="after")
    def _blocks(self) -> Self:
        if self.sampled_negatives and self.targets_per_history == 1:
            raise ValueError("sampled_negatives belong to blocks: set targets_per_history above 1")
        return self


class TrainingConfig(Frozen):
    """Optimizer, batches, precision and checkpoints: what the loop is given, whatever it trains."""

    optim: OptimConfig = Field(default_factory=OptimConfig, description="Optimizer and schedule.")
    seed: int = Field(0, ge=0, description="Root of all randomness.")
    batch_size: int = Field(128, ge=1, description="Prompts per optimizer step.")
    # Logits of more tokens leave malloc's reuse and cost twice the time in page faults.
    micro_batch_tokens: int = Field(
        2048, ge=16, description="Tokens of one forward and backward pass; up to 8 times as many on a GPU."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of forward and backward; auto: bf16 where the processor computes in it."
    )
    lm_weight: float = Field(0.0, ge=0, description="Weight of a language-model loss on part of the prompt tokens.")
    lm_fraction: float = Field(0.15, gt=0, le=1, description="Fraction of the prompt tokens in that loss.")
    pair_weight: float = Field(
        0.0, ge=0, description="Weight of a loss on pairs of targets of one history, one liked and one not."
    )
    list_weight: float = Field(
        0.0, ge=0, description="Weight of a loss on lists: of each target's place among those with the other answer."
    )
    checkpoint_steps: int = Field(100, ge=1, description="Optimizer steps between two checkpoints.")


class _Stage(TrainingConfig):
    """What all kinds of stage have: samples, a parent adapter and this configuration in; an adapter out."""

    mode: Literal["lora", "full"] = Field("lora", description="LoRA, or all parameters (small backbones only).")
    lora: LoraSettings = Field(default_factory=LoraSettings, description="LoRA settings; ignored in mode full.")
    template: str = Field("default", description="Prompt template: a shipped name or a TOML path.")
    max_length: int = Field(512, ge=16, description="Longest prompt in tokens; the oldest history items go first.")
    epochs: float = Field(1.0, gt=0, description="Passes over the training prompts, unless max_steps is given.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; overrides epochs.")
    merge: int = Field(
        1, ge=1, description="Trainings, each with draws of its own (order, dropout); their weights are averaged."
    )
    train_on_inputs: bool = Field(False, description="Loss on the whole prompt, as the reference code does.")

    @property
    def trainings(self) -> int:
        """How many trainings the stage takes: several that are merged, or those of folds and one on all samples."""
        return self.merge

    @model_validator(mode="after")
    def _merges(self) -> Self:
        if self.merge > 1 and self.mode == "lora":
            raise ValueError("merge averages all weights: set mode = 'full' (factors of LoRA cannot be averaged)")
        return self


class InstructionStage(_Stage):
    """Instruction tuning (TALLRec's first stage): it sees the catalogue and no label."""

    kind: Literal["instruction"] = Field("instruction", description="Instruction tuning.")
    instructions: int = Field(2000, ge=1, description="Rows of the embedded instruction generator.")
    instruction_file: str | None = Field(None, description="JSON(L) of instructions or chats instead of the generator.")


class CotStage(_Stage):
    """Tuning on the chain-of-thought data that `recalign teach` writes (TLRec's curriculum)."""

    kind: Literal["cot"] = Field("cot", description="Chain-of-thought curriculum.")
    curriculum: Curriculum = Field("ordered", description="Which rows are learnt from, in which order.")
    difficulty: str = Field("stage", description="What makes a row hard: stage, length or answer-length.")


class RecStage(_Stage):
    """Rec-tuning: is the answer to a history and a target Yes or No?"""

    kind: Literal["rec"] = Field("rec", description="Rec-tuning.")
    sampling: SamplingConfig = Field(default_factory=SamplingConfig, description="Histories and targets.")
    shots: int | None = Field(None, ge=1, description="K: how many training samples are used; all if not given.")
    selection: Selection = Field(
        "last",
        description="Which step is kept: last; strict-k (last: the K samples and the source alone decide); k-fold "
        "(best mean AUC over folds of the K samples, perhaps that of no step); source (best AUC on held-out source "
        "users); paper (best AUC on the target's validation split).",
    )
    holdout: float = Field(0.1, gt=0, lt=1, description="Fraction of source users held out for selection source.")
    folds: int = Field(4, ge=2, description="Folds of the K samples for selection k-fold.")
    eval_steps: int = Field(50, ge=1, description="Optimizer steps between two validations.")
    patience: int = Field(10, ge=1, description="Stop after so many validations without a gain (both papers: 10).")
    max_eval_samples: int = Field(2000, ge=1, description="Seeded subset of the validation samples.")

    @property
    def trainings(self) -> int:
        """Those of folds and one on all samples; otherwise as in every stage."""
        return self.folds + 1 if self.selection == "k-fold" else self.merge

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shots is not None and self.sampling.targets_per_history > 1:
            raise ValueError("shots counts single samples, so it goes with sampling.targets_per_history = 1")
        if self.shots is not None and self.selection == "source":
            raise ValueError("selection = 'source' is for source stages; a K-shot stage uses strict-k, k-fold or paper")
        if self.selection == "k-fold" and (self.shots is None or self.merge > 1):
            raise ValueError("selection = 'k-fold' is for K-shot stages: set shots (and merge = 1)")
        return self


StageConfig = InstructionStage | CotStage | RecStage
"""A stage of any kind; where pydantic reads one, `kind` tells which (``Field(discriminator="kind")``)."""

STAGES: Final[Mapping[str, type[StageConfig]]] = {"instruction": InstructionStage, "cot": CotStage, "rec": RecStage}


def stage_config(settings: Mapping[str, object], where: str) -> StageConfig:
    """A stage from flat settings as TOML or ``--set`` has them; without `kind` it is rec-tuning.

    `where` says what they are, for messages: "options of recalign tune".

    Raises:
        ConfigError: No such kind; keys that are unknown or belong to another kind; wrong values.
    """
    kind = settings.get("kind", "rec")
    if not isinstance(kind, str) or kind not in STAGES:
        raise ConfigError(where, found=f"kind {kind!r}", expected=", ".join(STAGES))
    own = STAGES[kind].model_fields
    for key in settings:
        kinds = [name for name, stage in STAGES.items() if key in stage.model_fields]
        if key not in own and kinds:
            hint = f"Run: recalign config {kind}"
            raise ConfigError(where, found=f"{key}, a key of kind {kinds[0]}", expected=f"keys of {kind}", hint=hint)
    return validated(STAGES[kind], {**settings, "kind": kind}, where)
