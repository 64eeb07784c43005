"""``hf:PATH_OR_ID``: a local Hugging Face model. (For in-context learning, local models are scored, not asked.)"""

from __future__ import annotations

from recalign.cot.config import TeachConfig
from recalign.cot.teachers import TeacherPlugin
from recalign.data.samples import SampleSet
from recalign.llm.local import LocalTeacher
from recalign.models.config import BackboneConfig


def _make(samples: SampleSet, config: TeachConfig, model: str) -> LocalTeacher:
    backbone = BackboneConfig(name=model, revision=config.revision, dtype=config.dtype, device=config.device)
    return LocalTeacher(backbone, template=config.template, seed=config.seed)


PLUGIN = TeacherPlugin(model="PATH_OR_ID", make=_make)
