"""What may stand in a template file (TOML): validated, unknown keys rejected. `recalign.prompting.template` uses it."""

from __future__ import annotations

import re
import tomllib
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recalign.errors import ConfigError

_WITH_INPUT: Final = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{{ instruction }}\n\n### Input:\n{{ input }}\n\n### Response:\n"
)
_WITHOUT_INPUT: Final = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{{ instruction }}\n\n### Response:\n"
)


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wording(_Spec):
    """The three parts of a prompt in one language."""

    instruction: str = Field(min_length=1)
    input: str = ""
    output: str = "{{ yes if label else no }}"


class CotWording(Wording):
    """One chain-of-thought step; `ask` tells a teacher in which form to answer, and is no part of a training row."""

    ask: str = ""


class Frame(_Spec):
    """What stands around instruction and input, and how the answer follows. The default is Alpaca's frame.

    With `ends` the model also learns to stop after a Yes/No answer (the tokenizer's EOS follows it), as in the papers'
    code; a template whose answers are only ever scored can do without.
    """

    with_input: str = _WITH_INPUT
    without_input: str = _WITHOUT_INPUT
    answer: str = "{{ output }}"
    ends: bool = True


class Parse(_Spec):
    """Regular expressions that take a rendered (English) prompt apart; both must match completely.

    Groups: ``verb``, ``noun``, ``yes``, ``no`` in either; ``liked``, ``disliked``, ``target`` in `input`.
    """

    instruction: str
    input: str

    @field_validator("instruction", "input")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _groups(self) -> Self:
        missing = {"liked", "disliked", "target"} - set(re.compile(self.input).groupindex)
        if missing:
            raise ValueError(f"input lacks the groups {', '.join(sorted(missing))}")
        return self


class TemplateSpec(_Spec):
    """A template file. Yes/No templates have `wording`, chain-of-thought templates `stages`; both are by language."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: int = Field(ge=1)
    description: str = ""
    kind: Literal["yes-no", "cot"] = "yes-no"
    chat: bool = False
    wording: dict[str, Wording] = Field(default_factory=dict)
    stages: dict[str, tuple[CotWording, CotWording, CotWording]] = Field(default_factory=dict)
    frame: Frame = Field(default_factory=Frame)
    parse: Parse | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "yes-no" and (not self.wording or self.stages):
            raise ValueError("kind yes-no needs [wording.<language>] and no [[stages.<language>]]")
        if self.kind == "cot" and (not self.stages or self.wording or self.parse):
            raise ValueError("kind cot needs three [[stages.<language>]] and no [wording] or [parse]")
        return self


def read_spec(text: str, where: str) -> TemplateSpec:
    """Parse and validate a template file, named `where`. Raises ConfigError with all problems at once."""
    try:
        return TemplateSpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"prompt template {where}", found=str(error), expected="TOML") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'template'}: {item['msg']}" for item in error.errors()]
        raise ConfigError(
            f"prompt template {where}",
            found="; ".join(problems),
            hint="The shipped templates are examples; see recalign.prompting.spec.",
        ) from error
