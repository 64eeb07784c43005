"""Configuration of teaching: who is asked about which samples. How calls are made is in `ClientConfig`."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from recalign.cot.teachers import check_teacher
from recalign.data.teacher_candidates import CandidateConfig
from recalign.llm.config import ClientConfig, Temperature

# What decides how, and not what, is written: these stand in the manifest's info and not in its fingerprint.
_CALLS: Final = set(ClientConfig.model_fields) - {"temperature", "max_tokens", "base_url", "length_parameter"}
_OPERATION: Final = _CALLS | {"retry_rejected", "device"}


class TeachConfig(ClientConfig, CandidateConfig):
    """Which teacher writes chain-of-thought data for which samples, and within which bounds."""

    teacher: str = Field(
        "heuristic",
        description="heuristic (embedded), openai:MODEL (any compatible endpoint), hf:PATH_OR_ID (a local model), "
        "or a teacher of another package.",
    )
    temperature: Temperature = 0.2
    filter: Literal["hit", "valid-only"] = Field(
        "hit", description="Keep samples whose truth was recommended, or all whose answers are valid."
    )
    seed: int = Field(0, ge=0, description="Root of all randomness.")
    split: Literal["train", "valid"] = Field("train", description="Split whose positive samples are the source.")
    recommend: int = Field(10, ge=1, description="Recommendations asked for in step 3.")
    featured: int = Field(5, ge=1, description="Most featured items asked for in step 2.")
    template: str = Field("tlrec-cot", description="Chain-of-thought template: a name, or a path that ends in .toml.")
    revision: str | None = Field(None, description="Hub revision of a local model.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="Type of its weights.")
    device: str = Field("auto", min_length=1, description="Device of a local model: auto, cpu, cuda, ...")
    retry_rejected: bool = Field(False, description="Ask again where an earlier run's answer was rejected.")

    @model_validator(mode="after")
    def _known_teacher(self) -> Self:
        check_teacher(self.teacher, self.base_url)
        return self

    @property
    def candidates(self) -> CandidateConfig:
        """Parameters of user filtering."""
        return CandidateConfig.model_validate(self.model_dump(include=set(CandidateConfig.model_fields)))

    def content(self) -> dict[str, object]:
        """What decides the content of the data."""
        return self.model_dump(exclude=_OPERATION)

    def operation(self) -> dict[str, object]:
        """What decides how it is made."""
        return self.model_dump(include=_OPERATION)
