"""``heuristic``: the embedded teacher, which counts. No network, no model, no cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recalign.cot.cases import CotTeacher
from recalign.cot.teachers import TeacherPlugin

if TYPE_CHECKING:
    from recalign.cot.config import TeachConfig
    from recalign.data.samples import SampleSet


def _make(samples: SampleSet, config: TeachConfig, model: str) -> CotTeacher:
    from recalign.cot.heuristic import HeuristicTeacher

    return HeuristicTeacher(samples, config)


PLUGIN = TeacherPlugin(make=_make)
