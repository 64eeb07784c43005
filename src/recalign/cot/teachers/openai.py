"""``openai:MODEL``: any OpenAI-compatible endpoint."""

from __future__ import annotations

from recalign.cot.teachers import TeacherPlugin
from recalign.llm.endpoint import EndpointTeacher

PLUGIN = TeacherPlugin(model="MODEL", has_address=True, language_model=EndpointTeacher)
