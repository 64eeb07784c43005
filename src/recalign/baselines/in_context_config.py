"""Configuration of in-context learning through an endpoint."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from recalign.cot.teachers import check_teacher
from recalign.llm.config import ClientConfig


class InContextConfig(ClientConfig):
    """Which language model is asked about how many samples. It answers greedily unless told otherwise."""

    teacher: str = Field(description="openai:MODEL, or a teacher of another package that answers any question.")
    limit: int | None = Field(None, ge=1, description="Samples asked about, drawn by seed; all if not given.")

    @model_validator(mode="after")
    def _answers_any_question(self) -> Self:
        check_teacher(self.teacher, self.base_url, any_question=True)
        return self
