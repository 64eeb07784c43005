"""From the name of a teacher in a configuration to the teacher."""

from __future__ import annotations

from recalign.data.samples import SampleSet
from recalign.teacher.base import Teacher
from recalign.teacher.config import TeachConfig


def make_teacher(samples: SampleSet, config: TeachConfig) -> Teacher:
    """Make the teacher that `config` names; nothing is asked yet.

    Raises:
        ConfigError: there is no key for an endpoint that needs one, or no wording in the domain's language.
        ModelError: a local model cannot be loaded.
    """
    if config.teacher.startswith("openai:"):
        from recalign.teacher.endpoint import EndpointTeacher

        return EndpointTeacher(config)
    if config.teacher.startswith("hf:"):
        from recalign.teacher.local import LocalTeacher

        return LocalTeacher(config)
    from recalign.teacher.heuristic import HeuristicTeacher

    return HeuristicTeacher(samples, config)
