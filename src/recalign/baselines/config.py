"""Configuration of the sequential baselines, and of in-context learning through an endpoint.

Defaults: TALLRec §3.1.3 and §3.1.5 (Adam 1e-3, MSE, weight decay searched in 1e-3 … 1e-7, histories of 10, Caser's
filters, one attention head, 4 GRU layers of 1024 units beside text); what TALLRec does not say, as in the code of DROS
(Yang et al. 2023), whose authors' implementations it used: width 64, batches of 256, dropout 0.1,
fresh item embeddings of 0.01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recalign.artifacts import Json
from recalign.baselines.networks import BASELINES, BaselinePlugin
from recalign.cot.teachers import check_teacher
from recalign.llm.config import ClientConfig

_STORED: Final = {"max_history": "history"}  # names in artefacts and in the keys of stored results


class BaselineConfig(BaseModel):
    """One baseline: samples and this configuration in, a scorer out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Which one: gru4rec, sasrec, ...")
    seed: int = Field(0, ge=0, description="Root of all randomness; equal seeds give all models equal K samples.")
    shots: int | None = Field(None, ge=1, description="K: how many training samples are used; all if not given.")
    selection: Literal["paper", "last"] = Field(
        "paper",
        description="paper: the round and the weight decay of the best AUC on the validation split (1,000 labels "
        "in the papers, so not few-shot); last: no validation label is read.",
    )
    loss: Literal["mse", "bce"] = Field("mse", description="On the sigmoid: squared error (papers) or cross-entropy.")
    lr: float = Field(1e-3, gt=0, description="Learning rate of Adam.")
    weight_decays: tuple[float, ...] = Field(
        (1e-3, 1e-4, 1e-5, 1e-6, 1e-7), min_length=1, description="L2 weights tried; selection last takes exactly one."
    )
    batch_size: int = Field(256, ge=1, description="Samples per step of the optimizer.")
    max_steps: int = Field(2000, ge=1, description="Steps after which training ends, at the end of a round.")
    eval_steps: int = Field(
        10, ge=1, description="Fewest steps of a round, which is one or more whole passes over the samples."
    )
    patience: int = Field(5, ge=1, description="Stop after so many rounds without a gain in validation AUC.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic in training; auto: bf16 for gru-bert and dros-bert where the processor has it."
    )
    max_eval_samples: int = Field(2000, ge=1, description="Seeded subset of the validation samples.")
    max_history: int = Field(
        10, ge=1, description="Length of the sequence: newer entries are kept, shorter ones padded."
    )
    embedding: int = Field(64, ge=1, description="Width of the item embedding.")
    feedback: int = Field(16, ge=1, description="Width of the feedback embedding (liked, disliked).")
    width: int | None = Field(
        None, ge=1, description="Width of the sequence state; 64, and 1024 for gru-bert and dros-bert."
    )
    layers: int | None = Field(
        None, ge=1, description="GRU layers (1; gru-bert and dros-bert 4) or attention blocks (2)."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in training.")
    item_scale: float = Field(0.01, gt=0, description="Standard deviation of fresh item embeddings.")
    unknown_share: float = Field(
        0.1, ge=0, lt=1, description="Share of items hidden in training, which teaches the embedding of unknown items."
    )
    filters: int = Field(16, ge=1, description="Caser: horizontal filters of each height.")
    heights: tuple[int, ...] = Field((2, 3, 4), min_length=1, description="Caser: heights of the horizontal filters.")
    heads: int = Field(1, ge=1, description="SASRec: attention heads.")
    robust_weight: float = Field(0.1, ge=0, description="DROS: weight alpha of the robust term.")
    temperature: float = Field(1.0, gt=0, description="DROS: beta; smaller looks at fewer, worse samples.")
    popularity_power: float = Field(
        0.5, ge=0, le=1, description="DROS: nominal distribution over items, popularity to this power."
    )

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        return BASELINES.validate(value)

    @classmethod
    def from_stored(cls, settings: Mapping[str, object]) -> BaselineConfig:
        """The configuration that `stored` gave."""
        names = {stored: name for name, stored in _STORED.items()}
        return cls.model_validate({names.get(name, name): value for name, value in settings.items()})

    def stored(self) -> Json:
        """All settings under the names that artefacts hold and fingerprints are made of."""
        return {_STORED.get(name, name): value for name, value in self.model_dump(mode="json").items()}

    @property
    def plugin(self) -> BaselinePlugin:
        """The baseline's record; it imports torch."""
        return BASELINES.find(self.model)

    @property
    def text(self) -> bool:
        """Whether items are represented by their text, too."""
        return self.plugin.text

    @property
    def state_width(self) -> int:
        """`width`, or the baseline's own."""
        return self.width or self.plugin.width

    @property
    def depth(self) -> int:
        """`layers`, or the baseline's own."""
        return self.layers or self.plugin.layers


class InContextConfig(ClientConfig):
    """Which language model is asked about how many samples. It answers greedily unless told otherwise."""

    teacher: str = Field(description="openai:MODEL, or a teacher of another package that answers any question.")
    limit: int | None = Field(None, ge=1, description="Samples asked about, drawn by seed; all if not given.")

    @model_validator(mode="after")
    def _answers_any_question(self) -> Self:
        check_teacher(self.teacher, self.base_url, any_question=True)
        return self
