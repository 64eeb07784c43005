"""``hf:PATH_OR_ID``: a local Hugging Face model. (For in-context learning, local models are scored, not asked.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recalign.cot.cases import CotTeacher
from recalign.cot.teachers import TeacherPlugin

if TYPE_CHECKING:
    from recalign.cot.config import TeachConfig
    from recalign.data.samples import SampleSet


def _make(samples: SampleSet, config: TeachConfig, model: str) -> CotTeacher:
    from recalign.llm.local import LocalTeacher
    from recalign.models.config import BackboneConfig

    backbone = BackboneConfig(name=model, revision=config.revision, dtype=config.dtype, device=config.device)
    return LocalTeacher(backbone, template=config.template, seed=config.seed)


PLUGIN = TeacherPlugin(make=_make, model="PATH_OR_ID")
