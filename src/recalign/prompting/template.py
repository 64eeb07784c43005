"""Prompt templates: data files (TOML) that turn a history and a target into text, and back where a file says how.

A template has wordings by language (``[wording.en]``: `instruction`, `input`, `output`), optionally an own ``[frame]``
(the default is Alpaca's) and ``[parse]`` expressions. The pieces are Jinja (`recalign.prompting.rendering`) over these
variables:

* of the domain: ``noun``, ``noun_plural``, ``verb``, ``past``, ``consumed``, ``yes``, ``no``, ``language``;
* of the sample: ``history`` (oldest first; each with ``.text``, ``.liked``, ``.rating`` or none), ``liked`` and
  ``disliked`` (texts), ``n_history``, ``n_liked``, ``n_disliked``, ``target``, ``label`` (1, 0 or none);
* in the frame: ``instruction``, ``input``, ``output``;
* in chain-of-thought stages: ``consumed_items``, ``candidates``, ``preferences``, ``featured``, ``pairs``,
  ``n_recommend``, ``n_featured``.

Every item text goes through `clean_title` here, so no caller can forget it. This module knows no tokenizer: what a
prompt costs in tokens and what is dropped when it is too long is up to `recalign.prompting.encoding`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from recalign.data.domain import Domain
from recalign.errors import ConfigError, DataError
from recalign.prompting.parsing import list_readings, parsed_domain, target_readings
from recalign.prompting.prompts import CotFields, HistoryText, Instruction, ParsedSample, Prompt
from recalign.prompting.rendering import Rendering
from recalign.prompting.spec import TemplateSpec, Wording, read_spec
from recalign.prompting.stages import CotStages
from recalign.prompting.template_files import TEMPLATES
from recalign.prompting.titles import clean_title

__all__ = [
    "CotFields",
    "Domain",
    "HistoryText",
    "Instruction",
    "ParsedSample",
    "Prompt",
    "PromptTemplate",
]

_T = TypeVar("_T")


class _Parts:
    """A compiled `Wording`."""

    def __init__(self, wording: Wording, where: str) -> None:
        self.instruction = Rendering(wording.instruction, f"{where}.instruction")
        self.input = Rendering(wording.input, f"{where}.input")
        self.output = Rendering(wording.output, f"{where}.output")


class PromptTemplate:
    """A named, versioned prompt wording. Immutable; two templates are equal if their files are."""

    def __init__(self, spec: TemplateSpec, source: str) -> None:
        """Use `PromptTemplate.load` or `from_toml`. Raises ConfigError where a piece does not render."""
        self._spec, self._source = spec, source
        name = spec.name
        self._wording = {key: _Parts(part, f"{name}: wording.{key}") for key, part in spec.wording.items()}
        self._stages = {key: CotStages(parts, f"{name}: stages.{key}") for key, parts in spec.stages.items()}
        self._with_input = Rendering(spec.frame.with_input, f"{name}: frame.with_input")
        self._without_input = Rendering(spec.frame.without_input, f"{name}: frame.without_input")
        self._answer = Rendering(spec.frame.answer, f"{name}: frame.answer")
        self._try_out()

    @classmethod
    def load(cls, name_or_path: str | Path) -> PromptTemplate:
        """Load a template by name (`recalign.prompting.template_files`), or a file by its path (ending in ``.toml``).

        Raises:
            ConfigError: no such template or file, or a malformed one.
        """
        path = Path(name_or_path)
        if path.suffix != ".toml":
            return _named(str(name_or_path))
        try:
            return cls.from_toml(path.read_text(encoding="utf-8"), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"prompt template {path}", found=str(error), expected="a UTF-8 TOML file") from error

    @classmethod
    def from_toml(cls, text: str, where: str = "") -> PromptTemplate:
        """Build a template from the text of its file. Raises ConfigError where it is malformed."""
        return cls(read_spec(text, where), text)

    def to_toml(self) -> str:
        """The template's file, to be stored with an adapter; `from_toml` gives the template back."""
        return self._source

    @property
    def name(self) -> str:
        """Name of the template."""
        return self._spec.name

    @property
    def version(self) -> int:
        """Version of its wording, from 1."""
        return self._spec.version

    @property
    def description(self) -> str:
        """One line for people."""
        return self._spec.description

    @property
    def kind(self) -> str:
        """``yes-no``, or ``cot`` for chain-of-thought stages."""
        return self._spec.kind

    @property
    def chat(self) -> bool:
        """Whether prompts go through the tokenizer's chat template."""
        return self._spec.chat

    @property
    def parses(self) -> bool:
        """Whether `parse` is possible."""
        return self._spec.parse is not None

    @property
    def ends(self) -> bool:
        """Whether EOS follows a Yes/No answer in training."""
        return self._spec.frame.ends

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that the template has a wording for."""
        return tuple(self._wording or self._stages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptTemplate) and other._source == self._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return f"PromptTemplate({self.name!r}, version={self.version})"

    def instruction(
        self, domain: Domain, history: Sequence[HistoryText], target: str, label: int | None
    ) -> Instruction:
        """Render a sample (history oldest first). With `label` None, `output` is empty.

        Raises:
            ConfigError: the template has no wording in the domain's language, or is a chain-of-thought template.
        """
        return self._render(domain, history, target, label, clean_title)

    def frame(self, instruction: Instruction) -> Prompt:
        """Put the frame around an instruction, of a sample or of any instruction-tuning data."""
        frame = self._with_input if instruction.input else self._without_input
        context = frame({"instruction": instruction.instruction, "input": instruction.input})
        return Prompt(context, self._answer({"output": instruction.output}), self.chat)

    def cot(self, domain: Domain, stage: int, fields: CotFields) -> Instruction:
        """Render chain-of-thought stage 1, 2 or 3; `output` is the answer of that stage.

        Raises:
            ConfigError: this is no chain-of-thought template, or it lacks the domain's language.
            ValueError: `stage` is not 1, 2 or 3.
        """
        return self._in_language(self._stages, domain, "cot").row(domain, stage, fields)

    def cot_question(self, domain: Domain, stage: int, fields: CotFields) -> str:
        """What a teacher is asked in stage 1, 2 or 3: instruction, input with the answers before, form of the answer.

        Raises:
            ConfigError, ValueError: as `cot`.
        """
        return self._in_language(self._stages, domain, "cot").question(domain, stage, fields)

    def parse(self, instruction: Instruction) -> ParsedSample:
        """Take a rendered sample apart; rendering the result gives the same strings back, byte for byte.

        The history comes liked items first, as rendered: their order in time is not in the text.

        Raises:
            ConfigError: the template does not say how to parse.
            DataError: the text does not have this template's form, or it cannot be rendered back.
        """
        patterns = self._spec.parse
        if patterns is None:
            raise ConfigError(f"prompt template {self.name!r} cannot be parsed", expected="one with a [parse] section")
        first = re.fullmatch(patterns.instruction, instruction.instruction)
        second = re.fullmatch(patterns.input, instruction.input)
        if first is None or second is None:
            raise DataError(f"the {'input' if first else 'instruction'} is not in the form of template {self.name!r}")
        found = first.groupdict() | second.groupdict()
        domain = parsed_domain(found)
        if instruction.output not in (domain.yes, domain.no):
            raise DataError("unknown answer", found=instruction.output[:40], expected=f"{domain.yes} or {domain.no}")
        label = int(instruction.output == domain.yes)
        readings = itertools.product(
            list_readings(found["liked"]), list_readings(found["disliked"]), target_readings(found["target"])
        )
        for liked, disliked, target in readings:
            history = [HistoryText(text, True) for text in liked] + [HistoryText(text, False) for text in disliked]
            if self._render(domain, history, target, label, str) == instruction:
                return ParsedSample(tuple((entry.text, entry.liked) for entry in history), target, label, domain)
        raise DataError(f"no reading of the item lists renders back with template {self.name!r}")

    def _render(
        self,
        domain: Domain,
        history: Sequence[HistoryText],
        target: str,
        label: int | None,
        clean: Callable[[str], str],
    ) -> Instruction:
        parts = self._in_language(self._wording, domain, "yes-no")
        entries = [HistoryText(clean(entry.text), entry.liked, entry.rating) for entry in history]
        liked = [entry.text for entry in entries if entry.liked]
        disliked = [entry.text for entry in entries if not entry.liked]
        values = domain.model_dump() | {
            "history": entries,
            "liked": liked,
            "disliked": disliked,
            "n_history": len(entries),
            "n_liked": len(liked),
            "n_disliked": len(disliked),
            "target": clean(target),
            "label": label,
        }
        output = "" if label is None else parts.output(values)
        return Instruction(parts.instruction(values), parts.input(values), output)

    def _in_language(self, wordings: Mapping[str, _T], domain: Domain, kind: str) -> _T:
        if self.kind != kind:
            raise ConfigError(f"prompt template {self.name!r}", found=f"kind {self.kind}", expected=f"kind {kind}")
        for key in (domain.language, domain.primary_language):
            if key in wordings:
                return wordings[key]
        raise ConfigError(
            f"prompt template {self.name!r} has no wording in the language {domain.language!r}",
            expected=" or ".join(wordings),
            hint="Set language to one of these and keep your own nouns and answers, or write a template file.",
        )

    def _try_out(self) -> None:
        """Render everything once, so that a faulty file fails when it is loaded and not in the middle of a run."""
        mark = "recalign-target-probe"
        histories: list[list[HistoryText]] = [[], [HistoryText("a", True, 4.5), HistoryText("b", False)]]
        for language in self.languages:
            domain = Domain(language=language)
            if self.kind == "cot":
                for stage in (1, 2, 3):
                    self.cot(domain, stage, CotFields(("a",), ("b",), "c", ("a",), (("a", "b"),)))
                    self.cot_question(domain, stage, CotFields(("a",), ("b",), "c", ("a",)))
                continue
            for history in histories:
                rows = [self.instruction(domain, history, mark, label) for label in (0, 1)]
                if mark not in self.frame(rows[0]).context:
                    raise ConfigError(f"prompt template {self.name!r} does not show the target to the model")
                if self.frame(rows[0]).answer == self.frame(rows[1]).answer:
                    raise ConfigError(f"prompt template {self.name!r} gives the same answer for both labels")


@lru_cache
def _named(name: str) -> PromptTemplate:
    file = TEMPLATES.find(name).file
    return PromptTemplate.from_toml(file.read_text(encoding="utf-8"), where=name)
