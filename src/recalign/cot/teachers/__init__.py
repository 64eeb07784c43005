"""Teachers as plug-ins: one record per kind of teacher. A teacher is named NAME, or NAME:MODEL where it has models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recalign.cot.cases import CotTeacher
from recalign.errors import ConfigError
from recalign.llm.base import LanguageModel
from recalign.llm.config import ClientConfig
from recalign.plugins import PluginGroup

if TYPE_CHECKING:
    from recalign.cot.config import TeachConfig
    from recalign.data.samples import SampleSet


@dataclass(frozen=True)
class TeacherPlugin:
    """One kind of teacher. At least one of `language_model` and `make` is given.

    Attributes:
        model: What MODEL is, in capitals, as messages name it ("PATH_OR_ID"); "" where NAME stands alone.
        has_address: Whether it is asked at an address, so that ``base_url`` may be given.
        language_model: Makes one that answers any question, in-context questions too. None: it writes chain-of-thought
            data only.
        make: Makes one that writes chain-of-thought data; MODEL is "" without one. None: the language model does.
    """

    model: str = ""
    has_address: bool = False
    language_model: Callable[[str, ClientConfig], LanguageModel] | None = None
    make: Callable[[SampleSet, TeachConfig, str], CotTeacher] | None = None


TEACHERS: Final = PluginGroup("teachers", "teacher", "recalign.cot.teachers", TeacherPlugin)


def find_teacher(teacher: str) -> tuple[TeacherPlugin, str]:
    """The record of a teacher, and MODEL, from its whole name: NAME or NAME:MODEL.

    Raises:
        ConfigError: There is no teacher of that NAME, or MODEL is missing, too much or unprintable.
    """
    name, colon, model = teacher.partition(":")
    plugin = TEACHERS.find(name)
    complete = bool(model.strip()) and model.isprintable() if plugin.model else not colon
    if not complete:
        expected = f"{name}:{plugin.model}" if plugin.model else name
        raise ConfigError("teacher", found=repr(teacher), expected=expected)
    return plugin, model


def check_teacher(teacher: str, base_url: str | None, *, any_question: bool = False) -> None:
    """Raise ValueError for a wrong name, an address that is not for it, or where it does not answer any question."""
    try:
        plugin, _ = find_teacher(teacher)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if base_url is not None and not plugin.has_address:
        raise ValueError(f"base_url is for teachers at an address, such as openai:MODEL; the teacher is {teacher}")
    if any_question and plugin.language_model is None:
        hint = "a local model gives probabilities, too: pass it as --backbone"
        raise ValueError(f"teacher {teacher} writes chain-of-thought data only ({hint})")


def make_teacher(samples: SampleSet, config: TeachConfig) -> CotTeacher:
    """Make the teacher that `config` names; nothing is asked yet.

    Raises:
        ConfigError: There is no key for an endpoint that needs one, or no wording in the domain's language.
        ModelError: A local model cannot be loaded.
    """
    plugin, model = find_teacher(config.teacher)
    return plugin.make(samples, config, model) if plugin.make else make_language_model(config.teacher, config)


def make_language_model(teacher: str, config: ClientConfig) -> LanguageModel:
    """Make a teacher that answers any question (`TeacherPlugin.language_model`); nothing is asked yet.

    Raises:
        ConfigError: There is no key for an endpoint that needs one.
    """
    plugin, model = find_teacher(teacher)
    assert plugin.language_model is not None, f"{teacher} does not answer any question"
    return plugin.language_model(model, config)
