"""Configuration of in-context learning through an endpoint."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from recalign.cot.teachers import check_teacher, find_teacher
from recalign.llm.base import LanguageModel
from recalign.llm.config import ClientConfig


class InContextConfig(ClientConfig):
    """Which language model is asked about how many samples. It answers greedily unless told otherwise."""

    teacher: str = Field(description="openai:MODEL, or a teacher of another package that answers such questions.")
    limit: int | None = Field(None, ge=1, description="Samples asked about, drawn by seed; all if not given.")

    @model_validator(mode="after")
    def _answers_questions(self) -> Self:
        check_teacher(self.teacher, self.base_url)
        if find_teacher(self.teacher)[0].language_model is None:
            raise ValueError(
                f"teacher {self.teacher} only writes chain-of-thought data; a local model gives probabilities: "
                "pass it as --backbone"
            )
        return self


def make_language_model(config: InContextConfig) -> LanguageModel:
    """Make the language model that `config` names; nothing is asked yet.

    Raises:
        ConfigError: It answers no such questions, or there is no key for an endpoint that needs one.
    """
    plugin, model = find_teacher(config.teacher)
    assert plugin.language_model is not None  # the configuration has checked it
    return plugin.language_model(model, config)
