"""Configuration of teaching. A parameter's default, meaning and limits are declared here and nowhere else."""

from __future__ import annotations

from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recalign.data.neighbours import Similarity
from recalign.data.teacher_candidates import CandidateConfig

OPENAI_URL: Final = "https://api.openai.com/v1"
# What decides how, and not what, is written: these stand in the manifest's info and not in its fingerprint.
_OPERATION: Final = frozenset(
    {
        "concurrency",
        "deadline",
        "attempts",
        "longest_wait",
        "failures",
        "key_env",
        "retry_rejected",
        "max_tokens_total",
        "max_cost",
        "price_in",
        "price_out",
        "device",
    }
)


class TeachConfig(BaseModel):
    """Which teacher writes chain-of-thought data for which samples, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: str = Field(
        "heuristic",
        description="heuristic (embedded), openai:MODEL (any compatible endpoint), or hf:PATH_OR_ID (a local model).",
    )
    filter: Literal["hit", "valid-only"] = Field(
        "hit", description="Keep samples whose truth was recommended, or all whose answers are valid."
    )
    seed: int = Field(0, ge=0, description="Root of all randomness.")
    split: Literal["train", "valid"] = Field("train", description="Split whose positive samples are the source.")
    limit: int | None = Field(None, ge=1, description="Source samples considered; all if not given.")
    similar_users: int = Field(12, ge=1, description="Users who vote on a candidate set.")
    size: int = Field(19, ge=1, description="Items in a candidate set.")
    similarity: Similarity = Field("cosine", description="Of users: cosine or dot.")
    recommend: int = Field(10, ge=1, description="Recommendations asked for in stage 3.")
    featured: int = Field(5, ge=1, description="Most featured items asked for in stage 2.")
    template: str = Field("tlrec-cot", description="Chain-of-thought template: a name, or a path that ends in .toml.")
    temperature: float = Field(0.2, ge=0, le=2, description="Sampling temperature; 0 is greedy.")
    max_tokens: int = Field(512, ge=1, description="Longest answer, in tokens.")
    base_url: str | None = Field(None, description=f"Address of the endpoint; {OPENAI_URL} if not given.")
    key_env: str = Field(
        "OPENAI_API_KEY", pattern=r"^\w+$", description="Name of the environment variable that holds the API key."
    )
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls the length limit; reasoning models want the second."
    )
    revision: str | None = Field(None, description="Hub revision of a local model.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="Type of its weights.")
    device: str = Field("auto", min_length=1, description="Device of a local model: auto, cpu, cuda, ...")
    concurrency: int = Field(8, ge=1, le=1024, description="Most calls in flight.")
    deadline: float = Field(120.0, gt=0, description="Seconds for one call, from connecting to the last byte.")
    attempts: int = Field(6, ge=1, description="Calls made for one answer before it is given up.")
    longest_wait: float = Field(
        120.0, ge=0, description="Longest wait between attempts, in seconds; a server that asks for more stops the run."
    )
    failures: int = Field(10, ge=1, description="Answers given up in a row after which the run stops.")
    max_tokens_total: int | None = Field(None, ge=1, description="Most tokens spent, prompts and answers together.")
    max_cost: float | None = Field(None, gt=0, description="Most money spent; needs both prices.")
    price_in: float | None = Field(None, ge=0, description="Price of a million prompt tokens.")
    price_out: float | None = Field(None, ge=0, description="Price of a million answer tokens.")
    retry_rejected: bool = Field(False, description="Ask again where an earlier run's answer was rejected.")

    @field_validator("teacher")
    @classmethod
    def _known(cls, value: str) -> str:
        kind, _, model = value.partition(":")
        if value != "heuristic" and (kind not in ("openai", "hf") or not model.strip() or not value.isprintable()):
            raise ValueError(f"must be heuristic, openai:MODEL or hf:PATH_OR_ID, not {value!r}")
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        """An address is recorded, so it must hold no password."""
        if value is None:
            return None
        parts = urlsplit(value)
        plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        if not plain or parts.query or parts.fragment or not value.isprintable() or " " in value:
            raise ValueError("must be http(s)://host/path without user, password or query")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise ValueError("max_cost needs price_in and price_out")
        if self.base_url is not None and not self.teacher.startswith("openai:"):
            raise ValueError(f"base_url is for openai:MODEL, the teacher is {self.teacher}")
        return self

    @property
    def candidates(self) -> CandidateConfig:
        """Parameters of user filtering."""
        return CandidateConfig(
            similar_users=self.similar_users,
            size=self.size,
            similarity=self.similarity,
            seed=self.seed,
            split=self.split,
            limit=self.limit,
        )

    def content(self) -> dict[str, Any]:
        """What decides the content of the data."""
        return self.model_dump(exclude=set(_OPERATION))

    def operation(self) -> dict[str, Any]:
        """What decides how it is made."""
        return self.model_dump(include=set(_OPERATION))
