"""``openai:MODEL``: any OpenAI-compatible endpoint."""

from __future__ import annotations

from recalign.cot.teachers import TeacherPlugin
from recalign.llm.base import LanguageModel
from recalign.llm.config import ClientConfig


def _model(model: str, config: ClientConfig) -> LanguageModel:
    from recalign.llm.endpoint import EndpointTeacher

    return EndpointTeacher(model, config)


PLUGIN = TeacherPlugin(
    make=lambda samples, config, model: _model(model, config),
    model="MODEL",
    has_address=True,
    language_model=_model,
)
