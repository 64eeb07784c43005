"""Prompt templates: data files (TOML) that turn a history and a target into text, and back where a file says how.

A template has wordings by language (``[wording.en]``: `instruction`, `input`, `output`), optionally an own ``[frame]``
(the default is Alpaca's) and ``[parse]`` expressions. The pieces are Jinja (`recalign.prompting.rendering`) over these
variables:

* of the domain: ``noun``, ``noun_plural``, ``verb``, ``past``, ``consumed``, ``yes``, ``no``, ``language``;
* of the sample: ``history`` (oldest first; each with ``.text``, ``.liked``, ``.rating`` or none), ``liked`` and
  ``disliked`` (texts), ``n_history``, ``n_liked``, ``n_disliked``, ``target``, ``label`` (1, 0 or none), ``facts``
  (`recalign.data.facts.Facts`, or none);
* in the frame: ``instruction``, ``input``, ``output``;
* in chain-of-thought steps: ``consumed_items``, ``candidates``, ``preferences``, ``featured``, ``pairs``,
  ``n_recommend``, ``n_featured``.

Every text that is inserted goes through `clean_title` here, so no caller can forget it. This module knows no tokenizer.

A template is one TOML file. Shipped ones are in ``templates/``. Another package names its file through an entry point
``recalign.templates`` whose value is a `TemplatePlugin` (``my_package:TEMPLATE``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, TypeVar

from recalign.data.domain import Domain
from recalign.data.facts import GENRES, Facts, GenreFact, ItemFacts, UserFacts
from recalign.errors import ConfigError, DataError
from recalign.plugins import PluginGroup
from recalign.prompting.parsing import list_readings, parsed_domain, target_readings
from recalign.prompting.prompts import CotFields, HistoryText, Instruction, ParsedSample, Prompt
from recalign.prompting.rendering import Rendering
from recalign.prompting.spec import TemplateSpec, Wording, read_spec
from recalign.prompting.titles import clean_title

_T = TypeVar("_T")


@dataclass(frozen=True)
class TemplatePlugin:
    """A prompt template.

    Attributes:
        file: Its TOML file, such as ``importlib.resources.files("my_package") / "shop.toml"``.
    """

    file: Traversable


class _TemplateFiles(PluginGroup[TemplatePlugin]):
    """Built-in templates are the TOML files of the package's folder."""

    def _built_in(self) -> dict[str, str]:
        folder = resources.files(self.package)
        return {file.name.removesuffix(".toml"): file.name for file in folder.iterdir() if file.name.endswith(".toml")}

    def _load_built_in(self, module: str) -> object:
        return TemplatePlugin(resources.files(self.package) / module)


_GENRE_LETTERS: Final = 24  # most that is shown of the name of a genre, which comes from strangers like a title
# Takes as much room in a prompt as any facts do.
WIDEST_FACTS: Final = Facts(
    UserFacts(100, 100, 100, 100, 100, 100, -100),
    ItemFacts((GenreFact("W" * _GENRE_LETTERS, 100, 100),) * GENRES, -100, 100, 1 << 30, 100),
)

TEMPLATES: Final = _TemplateFiles("templates", "prompt template", "recalign.prompting.templates", TemplatePlugin)


class PromptTemplate:
    """A named, versioned prompt wording. Immutable; two templates are equal if their files are.

    Attributes:
        name, version, description: As its file says; versions count from 1.
        kind: ``yes-no``, or ``cot`` for chain-of-thought steps.
        chat: Whether prompts go through the tokenizer's chat template.
        ends: Whether EOS follows a Yes/No answer in training.
        parses: Whether `parse` is possible.
        states_facts: Whether it says anything of `Facts`; they need not be found for one that does not.
        languages: Languages that the template has a wording for.
    """

    def __init__(self, spec: TemplateSpec, source: str) -> None:
        """Use `PromptTemplate.load` or `from_toml`. Raises ConfigError where a piece does not render."""
        self._patterns, self._source = spec.parse, source
        self.name, self.version, self.description, self.kind = spec.name, spec.version, spec.description, spec.kind
        self.chat, self.ends, self.parses = spec.chat, spec.frame.ends, spec.parse is not None
        self.languages = tuple(spec.wording or spec.stages)
        name = spec.name
        self._wording = {key: _compiled(part, f"{name}: wording.{key}") for key, part in spec.wording.items()}
        self._steps = {
            key: [_compiled(part, f"{name}: stages.{key}[{index}]") for index, part in enumerate(parts)]
            for key, parts in spec.stages.items()
        }
        self._with_input = Rendering(spec.frame.with_input, f"{name}: frame.with_input")
        self._without_input = Rendering(spec.frame.without_input, f"{name}: frame.without_input")
        self._answer = Rendering(spec.frame.answer, f"{name}: frame.answer")
        self.states_facts = self._try_out()

    @classmethod
    def load(cls, name_or_path: str | Path) -> PromptTemplate:
        """Load a template by name, or a file by its path (in ``.toml``). Raises ConfigError where that fails."""
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
        """The text of its file; `from_toml` gives the template back."""
        return self._source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptTemplate) and other._source == self._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return f"PromptTemplate({self.name!r}, version={self.version})"

    def speaks(self, domain: Domain) -> bool:
        """Whether it has a wording in the domain's language."""
        return domain.language in self.languages or domain.primary_language in self.languages

    def instruction(
        self,
        domain: Domain,
        history: Sequence[HistoryText],
        target: str,
        label: int | None,
        facts: Facts | None = None,
    ) -> Instruction:
        """Render a sample (history oldest first). With `label` None, `output` is empty.

        Without `facts` a template says none, even if it could.

        Raises:
            ConfigError: the template has no wording in the domain's language, or is a chain-of-thought template.
        """
        return self._render(domain, history, target, label, clean_title, facts)

    def frame(self, instruction: Instruction) -> Prompt:
        """Put the frame around an instruction, of a sample or of any instruction-tuning data."""
        frame = self._with_input if instruction.input else self._without_input
        context = frame({"instruction": instruction.instruction, "input": instruction.input})
        return Prompt(context, self._answer({"output": instruction.output}), self.chat)

    def cot(self, domain: Domain, step: int, fields: CotFields) -> Instruction:
        """Render chain-of-thought step 1, 2 or 3; `output` is the answer of that step.

        Raises:
            ConfigError: this is no chain-of-thought template, or it lacks the domain's language.
        """
        return Instruction(**self._rendered_step(domain, step, fields, ("instruction", "input", "output")))

    def cot_question(self, domain: Domain, step: int, fields: CotFields) -> str:
        """What a teacher is asked in step 1, 2 or 3. Raises ConfigError as `cot` does."""
        texts = self._rendered_step(domain, step, fields, ("instruction", "input", "ask"))
        return "\n\n".join(filter(None, texts.values()))

    def parse(self, instruction: Instruction) -> ParsedSample:
        """Take a rendered sample apart; rendering the result gives the same strings back, byte for byte.

        The history comes liked items first: their order in time is not in the text.

        Raises:
            ConfigError: the template does not say how to parse.
            DataError: the text does not have this template's form, or it cannot be rendered back.
        """
        patterns = self._patterns
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
            if self._render(domain, history, target, label, str, None) == instruction:
                return ParsedSample(tuple((entry.text, entry.liked) for entry in history), target, label, domain)
        raise DataError(f"no reading of the item lists renders back with template {self.name!r}")

    def _render(
        self,
        domain: Domain,
        history: Sequence[HistoryText],
        target: str,
        label: int | None,
        clean: Callable[[str], str],
        facts: Facts | None,
    ) -> Instruction:
        pieces = self._in_language(self._wording, domain, "yes-no")
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
            "facts": facts and with_genre_names(facts, clean),
        }
        output = "" if label is None else pieces["output"](values)
        return Instruction(pieces["instruction"](values), pieces["input"](values), output)

    def _rendered_step(self, domain: Domain, step: int, fields: CotFields, wanted: Sequence[str]) -> dict[str, str]:
        steps = self._in_language(self._steps, domain, "cot")
        if step not in (1, 2, 3):
            raise ValueError(f"step must be 1, 2 or 3, found {step}")
        values = domain.model_dump() | {
            "consumed_items": [clean_title(text) for text in fields.consumed_items],
            "candidates": [clean_title(text) for text in fields.candidates],
            "preferences": clean_title(fields.preferences),
            "featured": [clean_title(text) for text in fields.featured],
            "pairs": [(clean_title(item), clean_title(candidate)) for item, candidate in fields.pairs],
            "n_recommend": fields.n_recommend,
            "n_featured": fields.n_featured,
        }
        return {piece: steps[step - 1][piece](values) for piece in wanted}

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

    def _try_out(self) -> bool:
        """Render everything once, so that a faulty file fails when it is loaded and not in the middle of a run.

        Returns whether it states facts.
        """
        stated = False
        mark = "recalign-target-probe"
        histories: list[list[HistoryText]] = [[], [HistoryText("a", True, 4.5), HistoryText("b", False)]]
        for language in self.languages:
            domain = Domain(language=language)
            if self.kind == "cot":
                for step in (1, 2, 3):
                    self.cot(domain, step, CotFields(("a",), ("b",), "c", ("a",), (("a", "b"),)))
                    self.cot_question(domain, step, CotFields(("a",), ("b",), "c", ("a",)))
                continue
            for history in histories:
                rows = [self.instruction(domain, history, mark, label) for label in (0, 1)]
                if mark not in self.frame(rows[0]).context:
                    raise ConfigError(f"prompt template {self.name!r} does not show the target to the model")
                if self.frame(rows[0]).answer == self.frame(rows[1]).answer:
                    raise ConfigError(f"prompt template {self.name!r} gives the same answer for both labels")
                stated |= self.instruction(domain, history, mark, 1, WIDEST_FACTS) != rows[1]
        return stated


def with_genre_names(facts: Facts, change: Callable[[str], str]) -> Facts:
    """The facts with other names of genres, each cut to 24 letters."""
    genres = tuple(replace(genre, name=change(genre.name)[:_GENRE_LETTERS].strip()) for genre in facts.item.genres)
    return replace(facts, item=replace(facts.item, genres=genres))


def _compiled(wording: Wording, where: str) -> dict[str, Rendering]:
    pieces = type(wording).model_fields
    return {piece: Rendering(getattr(wording, piece), f"{where}.{piece}") for piece in pieces}


@lru_cache
def _named(name: str) -> PromptTemplate:
    file = TEMPLATES.find(name).file
    return PromptTemplate.from_toml(file.read_text(encoding="utf-8"), where=name)
